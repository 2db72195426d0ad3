"""Training of the blood-cell classifier."""
