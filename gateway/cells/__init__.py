"""The cell index: every cell that was ever embedded, and those like it."""
