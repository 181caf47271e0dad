"""Presets are the trainings that the papers print, and the command line starts from them."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.core.evaluation_networks import check_group
from benchmarks.evaluation import run_config
from benchmarks.protocols.finetune import Finetune, FinetuneConfig
from benchmarks.protocols.presets import PRESETS, get_preset, preset_of
from benchmarks.protocols.registry import get_protocol
from benchmarks.protocols.transfer import Transfer, TransferConfig, labels_per_class
from benchmarks.run import _check_settings, _with_model, parse_options
from benchmarks.training.config import Trial
from deepnets.utils.errors import InputError
from ghn_models.images.datasets import load_images


def parsed(*words: str) -> Any:
    options = _with_model(parse_options(words))
    _check_settings(options)
    return options


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_run(name: str) -> None:
    preset = get_preset(name)
    options = parsed("--model", "randinit", "--preset", name)
    config = run_config(options, getattr(options, preset.protocol))
    assert (config.protocol, config.settings, config.dataset) == (preset.protocol, preset.settings, preset.dataset)
    assert config.repeats == preset.repeats or preset.repeats is None
    assert config.orth_layer == 0  # randinit makes nothing orthogonal
    assert isinstance(preset.settings, FinetuneConfig | TransferConfig)
    assert preset.settings.trials()
    assert preset.settings.batch_norm == "running"
    assert preset_of(preset.protocol, preset.settings) is not None
    assert name.partition("_")[0] in ("ghn2", "ghn3", "darts", "ghn")
    assert preset.source.startswith(("DeepNets-1M, ", "GHN-3, ", "GHN-orth, "))
    for group in preset.split:
        if group != "all":
            check_group(group)
    assert get_protocol(preset.protocol).batch_size_of(preset.settings) == preset.settings.batch_size


def test_hyperparameters_are_those_of_the_papers() -> None:
    """Written down here once more, from the texts of the papers."""

    def trials(name: str) -> list[Trial]:
        return get_preset(name).settings.trials()

    assert trials("ghn2_sgd") == [Trial("sgd", 50, 0.025, 3e-4)]
    assert trials("ghn2_adam") == [Trial("adam", 50, 0.001, 3e-4)]
    assert trials("darts_600") == [Trial("sgd", 600, 0.025, 3e-4)]
    assert trials("ghn3_imagenet_1epoch") == [Trial("sgd", 1, lr, 3e-5) for lr in (0.4, 0.1, 0.04, 0.01, 0.001)]
    assert trials("ghn3_resnet_90epochs") == [Trial("sgd", 90, lr, 1e-4) for lr in (0.1, 0.025, 0.01)]
    swin = {(t.optimizer, t.epochs, t.lr, t.weight_decay) for t in trials("ghn3_swin_90epochs")}
    assert swin == {("adamw", 90, lr, decay) for lr in (1e-3, 6e-4, 3e-4) for decay in (0.01, 0.05)}
    assert len(trials("ghn_orth_fewshot")) == 4 * (5 + 4) * 5
    assert trials("ghn_orth_convnext_ghn_orth") == [Trial("adamw", 300, 0.001, 0.1)]
    assert trials("ghn_orth_resnet50_imagenet") == [Trial("sgd", 200, 0.001, 1e-4)]
    sizes = {name: get_preset(name).settings.batch_size for name in PRESETS}
    assert (sizes["ghn2_sgd"], sizes["ghn3_imagenet_1epoch"], sizes["ghn3_swin_90epochs"]) == (96, 128, 512)
    assert (sizes["ghn_orth_fewshot"], sizes["ghn_orth_fewshot_convnext"]) == (96, 48)
    schedules = {name: get_preset(name).settings.schedule for name in PRESETS}
    assert (schedules["ghn2_sgd"], schedules["ghn3_resnet_90epochs"]) == ("cosine", "step")
    layers = [get_preset(f"ghn_orth_{network}_ghn_orth").orth_layer for network in ("resnet50", "convnext")]
    assert layers == [37 - 1, 100 - 1]  # the paper counts from 1


def test_options_have_precedence_over_the_preset() -> None:
    options = parsed(
        "--preset=ghn2_sgd", "--model", "he", "--finetune.epochs", "5", "--split", "test/3", "--repeats", "2"
    )
    fifty = get_preset("ghn2_sgd").settings
    assert isinstance(fifty, FinetuneConfig)
    assert options.finetune == replace(fifty, epochs=5.0)
    assert (options.split, options.repeats, options.dataset) == (("test/3",), 2, "cifar10")
    orthogonal = parsed("--preset", "ghn_orth_resnet50_ghn_orth", "--model", "ghn3_t_orth")
    assert (orthogonal.orth_layer, orthogonal.transfer.beta) == (36, 3e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "ghn2_sdg", "--model", "he"), "there is no preset 'ghn2_sdg'; did you mean ghn2_sgd?"),
        (
            ("--preset", "ghn2_sgd", "--model", "he", "--protocol", "transfer"),
            "ghn2_sgd is a preset of finetune, not of",
        ),
        (("--split", "test"), "give --model NAME, as ghn3_t, or --start-from RUN"),
        (("--model", "he", "--start-from", "x"), "give --model NAME, as ghn3_t, or --start-from RUN"),
    ],
)
def test_wrong_presets_are_one_sentence(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message.replace('?', '.')}"):
        parsed(*words)


def test_tables_name_the_preset() -> None:
    assert Finetune().describe_settings(FinetuneConfig()) == "1 epoch"
    fifty = get_preset("ghn2_sgd").settings
    assert isinstance(fifty, FinetuneConfig)
    assert Finetune().describe_settings(replace(fifty, epochs=5.0)) == "5 epochs, as in ghn2_sgd"
    few = get_preset("ghn3_fewshot").settings
    assert isinstance(few, TransferConfig)
    assert Transfer().describe_settings(few) == "1000 labels, as in ghn3_fewshot"
    assert Transfer().describe_settings(TransferConfig(labels_per_class=10, epochs=(5,))) == (
        "10 labels per class, epochs 5"
    )


def test_labels_are_a_thousand_in_all() -> None:
    digits = load_images("digits", None, 8)
    assert labels_per_class(TransferConfig(), digits) == 100
    hundred = replace(digits, classes=tuple(map(str, range(100))))
    assert labels_per_class(TransferConfig(), hundred) == 10
    assert labels_per_class(TransferConfig(labels_per_class=7), digits) == 7
