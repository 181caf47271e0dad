"""Models of other libraries with random weights, for counts of what `deepnets.trace` and `ghn(model)` can do."""
