"""Checkpoints: folders with weights and configuration, and the names of published weights."""
