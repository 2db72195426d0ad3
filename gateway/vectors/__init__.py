"""Vectors of cells on disk, and the nearest of them: an index that keeps its word, shards of it, and its port."""
