"""Training: make, export and judge the models that ship with the pipelines."""
