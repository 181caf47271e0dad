"""Speed of this toolkit, each with a command of its own."""
