"""Numbers of the GHN papers: their printed tables and their results of single networks."""
