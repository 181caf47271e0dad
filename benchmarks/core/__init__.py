"""What is evaluated and how: evaluation networks, the protocol interface, accuracy, SGD, ensembles, channel folding."""
