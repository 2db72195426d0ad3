"""What pages show: pure functions from what the API answers to what templates need."""
