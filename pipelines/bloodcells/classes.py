"""What cells are called."""

RED = (
    *("normal", "macrocyte", "microcyte", "spherocyte", "target", "stomatocyte", "ovalocyte", "teardrop", "burr"),
    *("schistocyte", "uncategorised", "hypochromia", "elliptocyte"),
)
"""Red cells, in the order of the Chula RBC-12 set (its 12 classes, and elliptocytes, which it has besides)."""
CLASSES = (*RED, "white cell", "platelet")
APART = "elliptocyte"
"""Comes from another microscope than all others, so what is measured on it may be the microscope: told apart."""
