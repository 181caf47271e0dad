"""Autograd functions that replace PyTorch's where those are slow; the only imports of `torch._C`."""
