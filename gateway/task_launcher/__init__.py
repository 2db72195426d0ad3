"""Chooses the task for each received job and sees its pipeline through."""
