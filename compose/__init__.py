"""Puts the parts together: settings, command line, deployments."""
