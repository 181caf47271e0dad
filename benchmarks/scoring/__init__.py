"""Scores of networks for architecture search: zero-cost proxies, predicted accuracy, files of scores."""
