"""The image sizes that the design space is defined for."""

IMAGE_SIZES = (32, 224)
"""CIFAR style and ImageNet style."""


def check_image_size(image_size: int) -> None:
    """Raise ValueError for a size that the design space does not define."""
    if image_size not in IMAGE_SIZES:
        known = " and ".join(map(str, IMAGE_SIZES))
        raise ValueError(f"image_size is {image_size!r}; architectures are defined for {known}")
