"""Nuclei: segment, count and measure cell nuclei with a small convolutional network."""
