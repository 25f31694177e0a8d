"""Engines, one a file: `load` returns what writes the text of a request. Each is loaded in its own process."""
