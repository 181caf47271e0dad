"""Published weights: their files, and where these are."""

from dataclasses import dataclass
from typing import Literal

HUB = "SamsungSAILMontreal/ghn3"
"""Repository of the GHN-3 weights on the Hugging Face hub."""

_PPUDA = "github.com/facebookresearch/ppuda (folder checkpoints)"


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
    """

    model: str
    file: str
    source: str
    dataset: Literal["cifar10", "imagenet"]
    kind: Literal["joblib", "torch"]
    sha256: str | None = None

    @property
    def classes_and_size(self) -> tuple[int, int]:
        """Number of classes and image size of the training data."""
        return {"cifar10": (10, 32), "imagenet": (1000, 224)}[self.dataset]


PUBLISHED = {
    "ghn3_t.imagenet_m8": Published("ghn3_t", "ghn3tm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_s.imagenet_m8": Published("ghn3_s", "ghn3sm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_l.imagenet_m8": Published("ghn3_l", "ghn3lm8.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn3_xl.imagenet_m16": Published("ghn3_xl", "ghn3xlm16.pt", f"hf.co/{HUB}", "imagenet", "joblib"),
    "ghn2.imagenet": Published("ghn2", "ghn2_imagenet.pt", _PPUDA, "imagenet", "torch"),
    "ghn1.imagenet": Published("ghn1", "ghn1_imagenet.pt", _PPUDA, "imagenet", "torch"),
    "ghn2.cifar10": Published("ghn2", "ghn2_cifar10.pt", _PPUDA, "cifar10", "torch"),
    "ghn1.cifar10": Published("ghn1", "ghn1_cifar10.pt", _PPUDA, "cifar10", "torch"),
    "mlp.cifar10": Published("mlp", "mlp_cifar10.pt", _PPUDA, "cifar10", "torch"),
}
"""Published weights by the name that this project gives them."""
