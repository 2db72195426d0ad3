"""Sends input files to the gateway."""
