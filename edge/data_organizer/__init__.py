"""Makes a job of each new file."""
