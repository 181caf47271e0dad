"""Thirty models of other libraries: segmentation, volumes, graphs, diffusion, sound."""

from benchmarks.performance.model_zoo.vision import Factories


def other_models() -> Factories:
    return {}
