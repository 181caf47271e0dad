"""Architectures to graphs without building networks: blocks, their shapes, and the builder."""
