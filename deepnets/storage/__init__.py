"""The HDF5 format of splits: flat columns with checksums, written completely or not at all, and read memory-mapped."""
