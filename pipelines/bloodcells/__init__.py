"""Tells blood cells apart on small images of single cells."""
