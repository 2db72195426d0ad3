"""Image pipelines, how they are plugged in and run."""
