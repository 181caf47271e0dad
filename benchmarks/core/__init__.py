"""Parts of an evaluation: networks, the protocol interface, accuracy, SGD, ensembles, channel folding."""
