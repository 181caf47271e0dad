"""Presets: the trainings of the papers' tables, by name.

A preset is a protocol with its settings, and the networks, repetitions and images of the table. What the paper does not
say comes from its code or from the work that it follows, as `source` says. Presets keep the running statistics of
training as they are, as the papers' code does.
"""

from dataclasses import dataclass, fields
from typing import Any

from benchmarks.protocols.finetune import FinetuneConfig
from benchmarks.protocols.transfer import TransferConfig
from deepnets.utils.errors import InputError, unknown_choice

_CIFAR_PROPERTIES: dict[str, Any] = {"noise": 0.08}
_IMAGENET_PROPERTIES: dict[str, Any] = {"noise": 0.18, "target": 0.1, "target_top": 5}
_DARTS: dict[str, Any] = {
    "batch_size": 96,
    "schedule": "cosine",
    "clip": 5.0,
    "lrs": (0.025,),
    "weight_decays": (3e-4,),
    "beta": 0.0,
    "batch_norm": "running",
}
_CUTOUT_AUXILIARY_DROPPATH: dict[str, Any] = {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2}
_GHN3_LRS = (0.4, 0.1, 0.04, 0.01, 0.001)
_FEWSHOT: dict[str, Any] = {
    "epochs": (50, 100, 200, 300),
    "optimizers": ("sgd", "adamw"),
    "lrs": (0.025, 0.01, 0.005, 0.0025, 0.001),
    "weight_decays": (1e-4, 1e-3, 0.01, 0.05, 0.1),
    "held_out": "val",
    "batch_norm": "running",
}
_GRID = "SGD or AdamW, 50 to 300 epochs, 5 or 4 learning rates, 5 weight decays, chosen on 5,000 held-out images"


@dataclass(frozen=True)
class Preset:
    """A training of a paper's table.

    Args:
        protocol: name of the protocol.
        settings: settings of the protocol.
        source: paper, table or section, and where the rest comes from.
        dataset: that the table is about.
        split: networks of the table.
        repeats: seeds for each network.
        orth_layer: first layer that NAME_orth makes orthogonal, counted from 0.
    """

    protocol: str
    settings: FinetuneConfig | TransferConfig
    source: str
    dataset: str
    split: tuple[str, ...] = ("all",)
    repeats: int | None = None
    orth_layer: int = 0


def _sgd(epochs: float = 1.0, **more: Any) -> FinetuneConfig:
    return FinetuneConfig(**{"epochs": epochs, "batch_norm": "running", "lrs": _GHN3_LRS, **more})


def _orth(optimizer: str, lr: float, weight_decay: float, epochs: int = 300, **more: Any) -> TransferConfig:
    """Return the hyperparameters of a row of GHN-orth's Table 2."""
    rates: dict[str, Any] = {"lrs": (lr,)} if optimizer == "sgd" else {"adam_lrs": (lr,)}
    fixed: dict[str, Any] = {"epochs": (epochs,), "optimizers": (optimizer,), "weight_decays": (weight_decay,)}
    return TransferConfig(**{**_FEWSHOT, **fixed, **rates, "beta": 0.0, **more})


def _orth_presets() -> dict[str, Preset]:
    """Return a preset for each row of GHN-orth's Table 2, for ResNet-50 and for ConvNeXt-B."""
    table: dict[str, tuple[TransferConfig, TransferConfig]] = {
        "rand": (_orth("sgd", 0.01, 0.05), _orth("adamw", 0.001, 1e-4, batch_size=48)),
        "ghn": (_orth("sgd", 0.01, 0.01), _orth("adamw", 0.001, 0.1, batch_size=48)),
        "ghn_orth": (_orth("sgd", 0.01, 0.01, beta=3e-5), _orth("adamw", 0.001, 0.1, batch_size=48, beta=3e-5)),
        "imagenet": (_orth("sgd", 0.001, 1e-4, 200), _orth("sgd", 0.0025, 1e-4, batch_size=48)),
    }
    layers = {"resnet50": 36, "convnext": 99}
    return {
        f"ghn_orth_{network}_{row}": Preset(
            "transfer",
            settings,
            f"GHN-orth, Tables 1 and 2, {row.upper().replace('_', '-')}; section 4",
            "cifar10",
            ("resnet50",) if network == "resnet50" else ("convnext_base",),
            5,
            layers[network] if row == "ghn_orth" else 0,
        )
        for row, pair in table.items()
        for network, settings in zip(layers, pair, strict=True)
    }


PRESETS: dict[str, Preset] = {
    "ghn2_sgd": Preset(
        "finetune",
        FinetuneConfig(epochs=50, **_DARTS, **_CIFAR_PROPERTIES),
        "DeepNets-1M, Table 3 (1, 5, 50 epochs), Figure 4 and section 5.1; weight decay and clipping: its code, DARTS",
        "cifar10",
    ),
    "ghn2_adam": Preset(
        "finetune",
        FinetuneConfig(**{**_DARTS, "epochs": 50, "optimizer": "adam", "lrs": (0.001,)}),
        "DeepNets-1M, Table 3 (Adam, 300 networks) and section 5.1; the rest as ghn2_sgd",
        "cifar10",
    ),
    "ghn2_imagenet_sgd": Preset(
        "finetune",
        _sgd(lrs=(0.1,), beta=0.0, **_IMAGENET_PROPERTIES),
        "DeepNets-1M, Table 4, Figure 4 (1, 5000, 10000 steps) and section 5.1; weight decay: GHN-3, section 5.1",
        "imagenet",
    ),
    "ghn2_imagenet_100epochs": Preset(
        "finetune",
        _sgd(100, lrs=(0.1,), weight_decays=(1e-4,), schedule="step", beta=0.0),
        "DeepNets-1M, Table 4 (100 epochs); schedule and weight decay: He et al., 2016",
        "imagenet",
        ("predefined",),
    ),
    "ghn2_curve": Preset(
        "finetune",
        FinetuneConfig(**{**_DARTS, "epochs": 50, "lrs": (0.1, 0.025, 0.01), "weight_decays": (1e-4, 3e-4, 1e-3)}),
        "DeepNets-1M, section E and Figure 13; learning rate and weight decay are tuned, the values are this toolkit's",
        "cifar10",
        ("resnet50",),
    ),
    "ghn2_fewshot": Preset(
        "transfer",
        TransferConfig(lrs=(0.1, 0.03, 0.01), weight_decays=(1e-4, 1e-3, 1e-2), beta=0.0, batch_norm="running"),
        "DeepNets-1M, Table 6 and section 5.3, tuned on 200 of 1,000 labels; the grid is this toolkit's",
        "cifar10",
        ("resnet50", "vit", "darts"),
        3,
    ),
    "darts_50": Preset(
        "finetune",
        FinetuneConfig(epochs=50, **_DARTS),
        "DeepNets-1M, Table 9, first row",
        "cifar10",
        ("darts_cifar", "pdarts_cifar"),
        5,
    ),
    "darts_50_cad": Preset(
        "finetune",
        FinetuneConfig(epochs=50, **_DARTS, **_CUTOUT_AUXILIARY_DROPPATH),
        "DeepNets-1M, Table 9, second row; cutout 16, auxiliary weight 0.4, drop path 0.2: DARTS, section A.2",
        "cifar10",
        ("darts_cifar", "pdarts_cifar"),
        5,
    ),
    "darts_600": Preset(
        "finetune",
        FinetuneConfig(epochs=600, **_DARTS, **_CUTOUT_AUXILIARY_DROPPATH),
        "DeepNets-1M, Table 9, third row; as darts_50_cad",
        "cifar10",
        ("darts_cifar", "pdarts_cifar"),
        5,
    ),
    "ghn3_imagenet_tenth_epoch": Preset("finetune", _sgd(0.1), "GHN-3, Table 2 and section 5.1", "imagenet"),
    "ghn3_imagenet_1epoch": Preset(
        "finetune", _sgd(), "GHN-3, Tables 2, 5, 12, 14, 15, 16, 18, 20 and section 5.1", "imagenet"
    ),
    "ghn3_imagenet_10epochs": Preset(
        "finetune", _sgd(10), "GHN-3, Figure 4 and Table 20", "imagenet", ("torchvision74",)
    ),
    "ghn3_resnet_90epochs": Preset(
        "finetune",
        _sgd(90, lrs=(0.1, 0.025, 0.01), weight_decays=(1e-4,), schedule="step"),
        "GHN-3, Table 6 and section 5.2 (0.1 alone for RandInit, GradInit, NIO); weight decay: He et al., 2016",
        "imagenet",
        ("resnet50", "resnet152"),
        3,
    ),
    "ghn3_swin_90epochs": Preset(
        "finetune",
        _sgd(
            90,
            optimizer="adamw",
            lrs=(1e-3, 6e-4, 3e-4),
            weight_decays=(0.01, 0.05),
            schedule="cosine",
            batch_size=512,
        ),
        "GHN-3, Table 6 and section 5.2",
        "imagenet",
        ("swin_t",),
        3,
    ),
    "ghn3_swin_adamw_1epoch": Preset(
        "finetune",
        _sgd(optimizer="adamw", lrs=(1e-3, 6e-4, 3e-4), weight_decays=(0.01, 0.05), batch_size=512, schedule="cosine"),
        "GHN-3, Table 17 (AdamW); as section 5.2",
        "imagenet",
        ("swin_t",),
    ),
    "ghn3_swin_sgd_1epoch": Preset(
        "finetune", _sgd(lrs=(0.05, 0.025, 0.01)), "GHN-3, Table 17 (SGD), one column each", "imagenet", ("swin_t",)
    ),
    "ghn3_huge": Preset(
        "finetune",
        _sgd(lrs=(0.1, 0.01)),
        "GHN-3, Table 13 and section A.3.3, one column each",
        "imagenet",
        ("resnet1000", "vit_1_2b"),
        3,
    ),
    "ghn3_fewshot": Preset(
        "transfer",
        TransferConfig(**_FEWSHOT),
        f"GHN-3, Table 7 and section 5.3; tuned as in GHN-orth: {_GRID}",
        "cifar10",
        ("resnet50", "convnext_base", "swin_t"),
        3,
    ),
    "ghn_orth_fewshot": Preset(
        "transfer",
        TransferConfig(**_FEWSHOT, beta=3e-5),
        f"GHN-orth, section 4: {_GRID}",
        "cifar10",
        ("resnet50",),
        5,
        36,
    ),
    "ghn_orth_fewshot_convnext": Preset(
        "transfer",
        TransferConfig(**_FEWSHOT, beta=3e-5, batch_size=48),
        f"GHN-orth, section 4: {_GRID}",
        "cifar10",
        ("convnext_base",),
        5,
        99,
    ),
    **_orth_presets(),
}


def get_preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(unknown_choice("preset", name, PRESETS))
    return PRESETS[name]


def preset_of(protocol: str, settings: Any, *free: str) -> str | None:
    """Return the first preset of a protocol that has these settings, None if there is none.

    Args:
        protocol: its name.
        settings: settings of the protocol.
        free: settings that need not be equal.
    """
    names = [field.name for field in fields(settings) if field.name not in free]
    for name, preset in PRESETS.items():
        if preset.protocol == protocol and all(getattr(preset.settings, n) == getattr(settings, n) for n in names):
            return name
    return None
