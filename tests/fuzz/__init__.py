"""Seeded fuzzers: inputs that others could make, damaged or made up, are read or refused with one sentence."""
