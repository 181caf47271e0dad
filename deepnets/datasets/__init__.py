"""Splits as files and as PyTorch Geometric data sets: generation, traced splits, transforms, samplers."""
