"""Accuracies that some number of images can give: k correct ones of n are k/n, in the digits that Python prints."""

from collections.abc import Iterable
from fractions import Fraction
from math import lcm

MAX_IMAGES = 10**6
TEST_IMAGES = {"digits": 300, "cifar10": 10_000, "cifar100": 10_000, "imagenet": 50_000}
"""Number of test images of data sets that are the same everywhere."""
COUNTED_COLUMNS = ("top1", "top5", "val_top1")
"""Columns with shares of correctly classified images."""


def impossible_accuracy(values: Iterable[float], num_images: int | None = None) -> float | None:
    """Return the first accuracy that no count of images gives, given those before it; None if all are possible.

    Two different fractions with denominators of up to a million are further apart than rounding can move them, so an
    accuracy tells its fraction in lowest terms. The number of images is a common multiple of the denominators.

    Args:
        values: accuracies of networks on the same images, 0 to 1.
        num_images: number of images; None if it is not known, then any number up to a million.

    >>> impossible_accuracy([1 / 3, 0.25, 0.987654321])
    0.987654321
    >>> impossible_accuracy([0.5, 0.123], num_images=300)
    0.123
    """
    common = 1
    for value in values:
        fraction = Fraction(value).limit_denominator(MAX_IMAGES)
        common = lcm(common, fraction.denominator)
        fits = common <= MAX_IMAGES if num_images is None else num_images % fraction.denominator == 0
        if float(fraction) != value or not fits:
            return value
    return None
