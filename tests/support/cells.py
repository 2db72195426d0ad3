"""Vectors that lie in groups, as those of cells do, and what is nearest among them."""

import numpy as np


def vectors(count: int, seed: int = 0, dimension: int = 32, groups: int = 50) -> np.ndarray:
    """L2-normalised (count, dimension) float32; the same seed gives the same ones, other seeds others of the same
    groups."""
    centres = np.random.default_rng(99).standard_normal((groups, dimension))
    chance = np.random.default_rng(seed)
    found = centres[chance.integers(groups, size=count)] + 0.35 * chance.standard_normal((count, dimension))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def nearest(queries: np.ndarray, kept: np.ndarray, k: int = 10) -> np.ndarray:
    """The rows of ``kept`` nearest to each query, best first."""
    return np.argsort(-(queries @ kept.T), axis=1)[:, :k]


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The part of the truth (queries, k) that was found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))
