"""Oracles: the least time that a recording allows, to whom the future is known."""
