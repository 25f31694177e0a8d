"""Measures the graph backend on a GPU: `make bench-gpu`."""
