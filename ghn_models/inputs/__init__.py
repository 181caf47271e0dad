"""Inputs of a GHN: meta-batches of graphs, and the parameters to predict."""
