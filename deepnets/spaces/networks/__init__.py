"""The networks of the spaces as torch modules, one space per file."""
