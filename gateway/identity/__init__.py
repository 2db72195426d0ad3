"""Users, instruments and their words; what people changed."""
