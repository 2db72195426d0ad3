"""Brings results to the instrument."""
