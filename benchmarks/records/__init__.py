"""Records of runs: what was measured, with the results of every network; files, checks and verification."""
