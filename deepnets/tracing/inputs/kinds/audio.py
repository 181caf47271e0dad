"""Sound and series: waveforms, spectra, and values over time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from deepnets.tracing.inputs.arguments import BATCH
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import argument
from deepnets.tracing.inputs.kinds.tokens import LENGTH

_AUDIO = ("audio", "speech", "encoder", "acoustic")
_BINS = (
    *("num_mel_bins", "n_mels", "feature_size", "input_feat_per_channel", "input_feat_size"),
    *("feature_projection_input_dim", "num_mels", "mel_bins", "input_dim"),
)
_SAMPLES, _FRAMES = 16000, 128


@argument("input_values", "waveforms", "waveform", "wav", "audio", "audio_values")
def waveform(facts: Facts) -> Iterator[Tensor]:
    """(B, samples), (B, channels, samples), or a spectrum (B, frames, bins)."""
    bins = facts.number(*_BINS, of=_AUDIO, default=0)
    length = facts.number("max_length", of=_AUDIO, default=_FRAMES)
    sound = facts.number("audio_channels", "channels", of=_AUDIO, default=1)
    if bins and facts.find("patch_size", of=_AUDIO):
        yield facts.floats(length, bins)
    if facts.find("audio_channels", "codebook_size", of=_AUDIO):
        yield facts.floats(sound, _SAMPLES)
    yield facts.floats(_SAMPLES)
    yield facts.floats(1, _SAMPLES)
    yield facts.floats(length, bins or 80)


@argument("input_features", "audio_mel", "spectrogram", "mel", "mel_spec", "features")
def spectrum(facts: Facts) -> Iterator[Tensor]:
    """(B, frames, bins) or (B, bins, frames)."""
    bins = facts.number(*_BINS, of=_AUDIO, default=80)
    positions = facts.number("max_source_positions", of=_AUDIO, default=0)
    if positions:
        yield facts.floats(bins, 2 * positions)
    yield facts.floats(_FRAMES, bins)
    yield facts.floats(bins, _FRAMES)
    yield facts.floats(1, facts.number("spec_size", of=_AUDIO, default=1024), bins)


@argument("mel_specgram")
def short_spectrum(facts: Facts) -> Iterator[Tensor]:
    """(B, bins, 16): as long as a text."""
    yield facts.floats(facts.number(*_BINS, of=_AUDIO, default=80), LENGTH)


@argument("input_features_mask", "audio_mel_mask", "feature_attention_mask")
def spectrum_mask(facts: Facts) -> Iterator[Tensor]:
    """(B, frames): no padding."""
    yield torch.ones(BATCH, _FRAMES, dtype=torch.long)
    positions = facts.number("max_source_positions", of=_AUDIO, default=0)
    if positions:
        yield torch.ones(BATCH, 2 * positions, dtype=torch.long)


def _series(facts: Facts, past: bool) -> tuple[int, ...]:
    """Return (steps,) or (steps, series)."""
    context = facts.number("context_length", "prediction_length", default=32)
    lags = facts.find("lags_sequence")
    steps = context + (max(lags) if isinstance(lags, list | tuple) and lags else 0)
    steps = steps if past else facts.number("prediction_length", default=8)
    series = facts.number("num_input_channels", "input_size", default=1)
    return (steps,) if series == 1 and facts.find("num_input_channels") is None else (steps, series)


@argument("past_values", "past_observed_mask")
def past(facts: Facts) -> Iterator[Tensor]:
    """(B, steps) or (B, steps, series)."""
    yield facts.floats(*_series(facts, past=True))


@argument("past_time_features", "future_time_features")
def time_features(facts: Facts) -> Iterator[Tensor]:
    """(B, steps, features)."""
    yield facts.floats(_series(facts, past=True)[0], facts.number("num_time_features", default=1))


@argument("future_values")
def future(facts: Facts) -> Iterator[Tensor]:
    """(B, steps) or (B, steps, series)."""
    yield facts.floats(*_series(facts, past=False))
