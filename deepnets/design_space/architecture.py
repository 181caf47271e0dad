"""Architecture: what to build, as a small immutable value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepnets.design_space.genotype import Genotype

if TYPE_CHECKING:
    from deepnets.networks.network import Network

STEM_KERNELS = (3, 5, 7)
FC_LAYERS = (1, 2)

_INTEGERS = ("n_cells", "C", "ks", "stem_type", "C_mult", "fc_layers", "fc_dim")
_FLAGS = ("preproc", "glob_avg", "stem_pool")
_NORMS = {None: None, "bn": "bn", "bnorm": "bn", "bn-track": "bn"}


@dataclass(frozen=True)
class Architecture:
    """A network of the design space of DeepNets-1M (paper, section 3 and A.1).

    Args:
        genotype: the normal and the reduction cell.
        n_cells: number of cells; reduction cells stand at n_cells // 3 and 2 * n_cells // 3 (if > 0).
        channels: width of the first cells (C).
        norm: "bn" (batch normalization) or None.
        ks: kernel size of the first convolution.
        preproc: 1x1 convolutions at the two inputs of every cell.
        glob_avg: global average pooling before the classifier; else a VGG-style head on the flattened map.
        stem_type: 0 simple, 1 ImageNet-style.
        stem_pool: max pooling after the simple stem.
        C_mult: factor on the width at every reduction cell.
        fc_layers: linear layers of the head.
        fc_dim: width of the head's hidden layer.

    Raises:
        ValueError: a value outside of the design space.
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
        _check("channels", self.channels, 8 <= self.channels <= 65528 and self.channels % 8 == 0, "a multiple of 8")
        _check("norm", self.norm, self.norm in ("bn", None), "'bn' or None")
        _check("ks", self.ks, self.ks in STEM_KERNELS, f"one of {STEM_KERNELS}")
        _check("stem_type", self.stem_type, self.stem_type in (0, 1), "0 or 1")
        _check("C_mult", self.C_mult, 1 <= self.C_mult <= 4, "1 to 4")
        _check("fc_layers", self.fc_layers, self.fc_layers in FC_LAYERS, f"one of {FC_LAYERS}")
        _check("fc_dim", self.fc_dim, 1 <= self.fc_dim <= 65535, "1 to 65535")
        if self.is_vit and not self.glob_avg:
            raise ValueError("glob_avg is False in a network with attention; such networks average over their tokens")
        if not self.preproc and len(self.genotype.normal_concat) + len(self.genotype.reduce_concat) > 2:
            raise ValueError("preproc is False with several states concatenated; then the cells need preproc=True")

    @property
    def is_vit(self) -> bool:
        """Whether the stem is that of a Vision Transformer (any attention in the genotype)."""
        return self.genotype.is_vit

    def build(
        self, num_classes: int = 10, image_size: int = 32, auxiliary: bool = False, drop_path: float = 0.0
    ) -> "Network":
        """The network as a torch module, whose parameters are named as in the graph; see `deepnets.networks`."""
        from deepnets.networks.network import Network

        return Network(self, num_classes, image_size, auxiliary, drop_path)

    def num_params(self, image_size: int = 32, num_classes: int = 10) -> int:
        """Exact number of trainable parameters of the network, modules that no path uses included."""
        from deepnets.design_space.architecture_table import ArchitectureTable
        from deepnets.symbolic.builder import count_parameters

        return int(count_parameters(ArchitectureTable.from_architectures([self]), image_size, num_classes)[0])

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Architecture":
        """Read the published metadata of a network (`nets[i]`); `C` is 32 where it is not recorded.

        Raises:
            ValueError: a field is missing or out of range.
        """
        missing = {"genotype", "n_cells"} - set(fields)
        if missing:
            raise ValueError(f"the architecture lacks {', '.join(sorted(missing))}")
        norm = fields.get("norm", "bn")
        _check("norm", norm, norm in _NORMS, ", ".join(map(repr, _NORMS)))
        given = {name: fields[name] for name in (*_INTEGERS, *_FLAGS) if name in fields}
        for name, value in given.items():
            kind = bool if name in _FLAGS else int
            _check(name, value, type(value) is kind, "True or False" if kind is bool else "an integer")
        channels = {"channels": given.pop("C")} if "C" in given else {}
        return cls(genotype=Genotype.from_dict(fields["genotype"]), norm=_NORMS[norm], **channels, **given)

    def to_dict(self) -> dict[str, Any]:
        """The published metadata of a network, ready for JSON."""
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
        raise ValueError(f"{field} is {value!r}; accepted: {choices}")
