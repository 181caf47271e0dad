"""Tracing: the architecture graph of any nn.Module."""
