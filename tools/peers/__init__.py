"""Compares paceline on real weights with what a user would pick instead: `python -I tools peers --help`."""
