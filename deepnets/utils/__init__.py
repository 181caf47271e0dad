"""Helpers that know nothing of networks: files, locks, errors, command lines, worker processes, provenance."""
