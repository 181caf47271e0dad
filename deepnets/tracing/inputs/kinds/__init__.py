"""Kinds of arguments by their names: texts, images, sound, graphs, and what diffusion models take."""
