"""Architecture: the description of one network of the design space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepnets.design_space.genotype import Genotype
from deepnets.utils.errors import InputError, unknown_choice

if TYPE_CHECKING:
    from deepnets.networks.network import Network

STEM_KERNELS = (3, 5, 7)
FC_LAYERS = (1, 2)

_INTEGERS = ("n_cells", "C", "ks", "stem_type", "C_mult", "fc_layers", "fc_dim")
_FLAGS = ("preproc", "glob_avg", "stem_pool")
_PUBLISHED_WITH_IT = ("num_nodes", "num_params")  # which follow from the others
_NORMS = {None: None, "bn": "bn", "bnorm": "bn", "bn-track": "bn"}


@dataclass(frozen=True)
class Architecture:
    """A network of the design space of DeepNets-1M (paper, section 3 and A.1).

    Args:
        genotype: the normal and the reduction cell.
        n_cells: number of cells; reduction cells stand at n_cells // 3 and 2 * n_cells // 3 (if > 0).
        channels: width of the first cells (C).
        norm: "bn" (batch norm) or None.
        ks: kernel size of the first convolution.
        preproc: whether 1x1 convolutions stand at the two inputs of every cell.
        glob_avg: global average pooling before the classifier; else a VGG-style head on the flattened map.
        stem_type: 0 for the simple stem, 1 for the ImageNet-style stem.
        stem_pool: max pooling after the simple stem.
        C_mult: factor on the width at every reduction cell.
        fc_layers: number of linear layers in the head.
        fc_dim: width of the head's hidden layer.

    Raises:
        InputError: a value outside of the design space.
    """

    genotype: Genotype
    n_cells: int
    channels: int = 32
    norm: str | None = "bn"
    ks: int = 3
    preproc: bool = True
    glob_avg: bool = True
    stem_type: int = 0
    stem_pool: bool = False
    C_mult: int = 2
    fc_layers: int = 1
    fc_dim: int = 256

    def __post_init__(self) -> None:
        _check("n_cells", self.n_cells, 1 <= self.n_cells <= 255, "1 to 255")
        step = 8 if self.is_vit else 4  # attention has 8 heads; DARTS has 36 channels
        fits = 8 <= self.channels <= 65528 and self.channels % step == 0
        _check("channels", self.channels, fits, "a multiple of 8 (4 without attention)")
        _check("norm", self.norm, self.norm in ("bn", None), "'bn' or None")
        _check("ks", self.ks, self.ks in STEM_KERNELS, f"one of {STEM_KERNELS}")
        _check("stem_type", self.stem_type, self.stem_type in (0, 1), "0 or 1")
        _check("C_mult", self.C_mult, 1 <= self.C_mult <= 4, "1 to 4")
        _check("fc_layers", self.fc_layers, self.fc_layers in FC_LAYERS, f"one of {FC_LAYERS}")
        _check("fc_dim", self.fc_dim, 1 <= self.fc_dim <= 65535, "1 to 65535")
        if self.is_vit and not self.glob_avg:
            raise InputError("glob_avg is False in a network with attention; such networks need glob_avg=True")
        if not self.preproc and len(self.genotype.normal_concat) + len(self.genotype.reduce_concat) > 2:
            raise InputError("preproc is False, but cells concatenate several states; such networks need preproc=True")

    @property
    def is_vit(self) -> bool:
        """Whether the network has the stem of a Vision Transformer: any attention in the genotype."""
        return self.genotype.is_vit

    def build(
        self, num_classes: int = 10, image_size: int = 32, auxiliary: bool = False, drop_path: float = 0.0
    ) -> "Network":
        """Build the network as a torch module, whose parameters have the names of the nodes of its graph.

        Args:
            num_classes: outputs of the classifier.
            image_size: height and width of the input, 32 or 224.
            auxiliary: add the auxiliary head of DARTS.
            drop_path: probability of dropping a path in training.

        Raises:
            InputError: another image size, or an architecture that cannot be built.
        """
        from deepnets.networks.network import Network

        return Network(self, num_classes, image_size, auxiliary, drop_path)

    def num_params(self, image_size: int = 32, num_classes: int = 10) -> int:
        """Return the exact number of trainable parameters of the network, unused modules included.

        Raises:
            InputError: an image size other than 32 and 224.
        """
        from deepnets.design_space.architecture_table import ArchitectureTable
        from deepnets.symbolic.builder import count_parameters

        return int(count_parameters(ArchitectureTable.from_architectures([self]), image_size, num_classes)[0])

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Architecture":
        """Read the published metadata of a network (`nets[i]`); `C` is 32 if it is missing.

        Raises:
            InputError: a field is missing, unknown or out of range.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"the architecture is {fields!r}; it is a mapping with genotype, n_cells, ...")
        known = ("genotype", "norm", *_INTEGERS, *_FLAGS)
        unknown = next((name for name in fields if name not in (*known, *_PUBLISHED_WITH_IT)), None)
        if unknown is not None:
            raise InputError(unknown_choice("field of an architecture", unknown, known))
        missing = {"genotype", "n_cells"} - set(fields)
        if missing:
            raise InputError(f"the architecture lacks {', '.join(sorted(missing))}")
        norm = fields.get("norm", "bn")
        _check("norm", norm, isinstance(norm, str | None) and norm in _NORMS, ", ".join(map(repr, _NORMS)))
        scalars = {name: fields[name] for name in (*_INTEGERS, *_FLAGS) if name in fields}
        for name, value in scalars.items():
            if name in _FLAGS:
                _check(name, value, type(value) is bool, "True or False")
            else:
                _check(name, value, type(value) is int, "an integer")
        if "C" in scalars:
            scalars["channels"] = scalars.pop("C")
        return cls(genotype=Genotype.from_dict(fields["genotype"]), norm=_NORMS[norm], **scalars)

    def to_dict(self) -> dict[str, Any]:
        """Return the published metadata of the network, ready for JSON."""
        return {
            "stem_type": self.stem_type,
            "stem_pool": self.stem_pool,
            "norm": "bnorm" if self.norm == "bn" else None,
            "preproc": self.preproc,
            "fc_layers": self.fc_layers,
            "glob_avg": self.glob_avg,
            "genotype": self.genotype.to_dict(),
            "n_cells": self.n_cells,
            "ks": self.ks,
            "C_mult": self.C_mult,
            "fc_dim": self.fc_dim,
            "C": self.channels,
        }


def _check(field: str, value: object, accepted: bool, choices: str) -> None:
    if not accepted:
        raise InputError(f"{field} is {value!r}; accepted: {choices}")
