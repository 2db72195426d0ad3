"""Finds new files on the instrument and takes them once they are complete."""
