"""Training of the encoder of cells, of its map, and of the way from one encoder to the next."""
