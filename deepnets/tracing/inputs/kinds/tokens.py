"""Texts: token numbers, and what comes with them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from deepnets.tracing.inputs.arguments import BATCH
from deepnets.tracing.inputs.facts import Facts
from deepnets.tracing.inputs.kinds.registry import argument

LENGTH = 16
_TEXT = ("text", "language", "llm", "decoder", "encoder", "thinker")


def special_tokens(facts: Facts) -> set[int]:
    """Return the tokens that mean something to the model: padding, places of images, and so on."""
    found: set[int] = set()
    for config in facts.configs:
        for name, value in getattr(config, "__dict__", {}).items():
            if name.endswith(("_token_id", "_token_index")) or name in ("image_token", "image_start_token"):
                found.update(n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int))
    return found


def vocabulary_size(facts: Facts) -> int:
    """Return the number of tokens that every part of the model knows."""
    embedding = facts.first(nn.Embedding, nn.EmbeddingBag)
    rows = embedding.num_embeddings if embedding is not None else 32
    return facts.number("vocab_size", of=_TEXT, default=rows)


def plain_tokens(facts: Facts, length: int) -> list[int]:
    """Return tokens that mean nothing special, at least one."""
    special = special_tokens(facts)
    plain = [n for n in range(min(vocabulary_size(facts), length + len(special) + 1)) if n not in special]
    return (plain or [0])[1:] or [0]


@argument(
    "input_ids", "decoder_input_ids", "text", "tokens", "ids", "token_ids", "audio_input_ids", "qformer_input_ids"
)
def token_ids(facts: Facts) -> Iterator[Tensor]:
    """(B, 16): tokens that mean nothing special, and the end of the text, where classifiers look."""
    for length in dict.fromkeys((_length(facts), 128, 64)):
        plain = plain_tokens(facts, length)
        ids = torch.tensor([plain[i % len(plain)] for i in range(length)]).repeat(BATCH, 1)
        end = facts.find("eos_token_id", of=_TEXT)
        if isinstance(end, int) and 0 <= end < vocabulary_size(facts):
            ids[:, -1] = end
        yield ids.repeat(facts.number("num_codebooks", default=1), 1) if _is_sound(facts) else ids


def _is_sound(facts: Facts) -> bool:
    """Return whether texts are codes of sounds, with a row for each book of codes."""
    return facts.find("num_codebooks") is not None and "encoder_hidden_states" in facts.forward


def _length(facts: Facts) -> int:
    """Return a length that the model's positions allow."""
    axes = facts.find("axial_pos_shape")  # Reformer
    if isinstance(axes, list | tuple) and facts.find("axial_pos_embds"):
        return int(torch.Size(axes).numel())
    known = facts.number("max_position_embeddings", "n_positions", of=_TEXT, default=LENGTH)
    return max(min(LENGTH, known), 1)


@argument("bbox")
def boxes(facts: Facts) -> Iterator[Tensor]:
    """(B, 16, 4): places of the tokens on a page."""
    coordinates = 8 if facts.find("dim_bbox") == 8 else 4
    if coordinates == 8:
        yield torch.rand(BATCH, _length(facts), coordinates)
    yield torch.tensor([1, 2, 3, 4]).repeat(BATCH, _length(facts), 1)


@argument("attention_mask", "classes_attention_mask", "tasks_attention_mask", "decoder_attention_mask")
def attention_mask(facts: Facts) -> Iterator[Tensor]:
    """(B, 16): everything is attended."""
    yield torch.ones(BATCH, _length(facts), dtype=torch.long)


@argument("src", "tgt", "memory", "query", "key", "value")
def sequences(facts: Facts) -> Iterator[Tensor]:
    """(B, B, features): for PyTorch's transformer layers, whatever comes first."""
    width = facts.find("d_model", "embed_dim")
    if not isinstance(width, int):
        linear = facts.first(nn.MultiheadAttention, nn.LayerNorm, nn.Linear)
        width = next(
            (w for name in ("embed_dim", "in_features") if isinstance(w := getattr(linear, name, None), int)), None
        )
        width = linear.normalized_shape[-1] if isinstance(linear, nn.LayerNorm) else width
    if width is not None:
        yield facts.floats(BATCH, width)


@argument(
    "lengths", "token_lengths", "mel_specgram_lengths", "input_lengths", "waveform_lengths", "audio_feature_lengths"
)
def lengths(facts: Facts) -> Iterator[Tensor]:
    """(B): every sequence is as long as the batch."""
    yield torch.full((BATCH,), LENGTH)
