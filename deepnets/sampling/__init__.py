"""Random networks: the rules of each split, the sampler, and the widths for evaluation and for training."""
