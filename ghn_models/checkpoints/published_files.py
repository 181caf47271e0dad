"""Published weights: their files, and where these are."""

from dataclasses import dataclass
from typing import Literal

HUB = "SamsungSAILMontreal/ghn3"
"""Repository of the GHN-3 weights on the Hugging Face hub."""

_PPUDA = "github.com/facebookresearch/ppuda (folder checkpoints), commit 4673a42"


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Args:
        model: name of the model.
        file: name of the file.
        source: address of the file.
        dataset: training data.
        kind: a joblib pickle of a state dict, or a torch file with one.
        sha256: hash of the file; None if it is not known.
        git_blob: id that git gives the file, if a repository holds it; it pins the content as a hash does.
    """

    model: str
    file: str
    source: str
    dataset: Literal["cifar10", "imagenet"]
    kind: Literal["joblib", "torch"]
    sha256: str | None = None
    git_blob: str | None = None

    @property
    def classes_and_size(self) -> tuple[int, int]:
        """Number of classes and image size of the training data."""
        return {"cifar10": (10, 32), "imagenet": (1000, 224)}[self.dataset]


def _ppuda(model: str, dataset: Literal["cifar10", "imagenet"], git_blob: str) -> Published:
    """Return a file of the GHN-2 repository, which holds its checkpoints in git."""
    return Published(model, f"{model}_{dataset}.pt", _PPUDA, dataset, "torch", git_blob=git_blob)


PUBLISHED = {
    "ghn3_t.imagenet_m8": Published("ghn3_t", "ghn3tm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_s.imagenet_m8": Published("ghn3_s", "ghn3sm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_l.imagenet_m8": Published("ghn3_l", "ghn3lm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_xl.imagenet_m16": Published("ghn3_xl", "ghn3xlm16.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn2.imagenet": _ppuda("ghn2", "imagenet", "7b5d6733e9fdf0069bc6186cad3a0b1b54fda68d"),
    "ghn1.imagenet": _ppuda("ghn1", "imagenet", "985ebeb350c4ae79e0553d88c07d986fa69c227b"),
    "ghn2.cifar10": _ppuda("ghn2", "cifar10", "4f290e0fad1b73066eeabb50be52e0c377d0b15b"),
    "ghn1.cifar10": _ppuda("ghn1", "cifar10", "0c97a283aefc0445dd357c08f1b36698149b8013"),
    "mlp.cifar10": _ppuda("mlp", "cifar10", "3a987c98b437fd2dfc603668a846f2b632ed28a3"),
}
"""Published weights by the name that this project gives them."""
