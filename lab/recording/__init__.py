"""Recordings: traces that hold what every draft would have done everywhere, so that any policy can be tried on them."""
