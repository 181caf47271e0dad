"""Training of GHNs: architectures, meta-batches, steps, checkpoints."""
