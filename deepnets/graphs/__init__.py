"""Architecture graphs: `ArchGraph`, its primitives, shortest paths, and many graphs as flat columns."""
