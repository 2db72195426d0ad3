"""Keeps the gateway's archive within its bounds."""
