"""Inputs: what a model is traced with, given by the user or found from what the model says about itself."""
