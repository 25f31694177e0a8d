"""Llama-shaped models at the speed that the machine's memory allows: static caches, joined and prepacked matrices."""
