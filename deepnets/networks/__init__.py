"""Architectures to torch modules, and the variants of torchvision networks that the GHN papers evaluate."""
