"""Execution of runs: jobs, worker processes and their memory; results are stored as soon as they exist."""
