"""How instruments are."""
