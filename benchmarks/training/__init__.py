"""Training of single networks: recipes, optimizers, schedules, and states that survive a kill."""
