"""Helpers of the GHN package."""
