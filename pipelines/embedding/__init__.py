"""Embedding: every cell becomes a vector, a place on a map, and a row of a table."""
