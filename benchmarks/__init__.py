"""Protocols that measure predicted parameters."""
