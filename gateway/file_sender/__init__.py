"""Serves outputs to instruments, archives, keeps rejects."""
