"""The wire and the rules that every side shares."""
