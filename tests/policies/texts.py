"""Texts of steady difficulty."""

from random import Random


def text(alpha, tokens, seed=0):
    """Return which of a draft's tokens are right: each with the same chance."""
    random = Random(seed)
    return [random.random() < alpha for _ in range(tokens)]
