"""Batches: what people submit together, kept and counted."""
