"""Spaces of trained architectures: their graphs, networks, parameter counts and published accuracies."""
