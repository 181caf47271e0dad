"""Rules: which nodes each operation becomes."""
