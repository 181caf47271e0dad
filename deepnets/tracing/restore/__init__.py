"""Undoing of a traced call: modules and their attributes, tensors and random numbers are as before."""
