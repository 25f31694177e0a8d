"""Finding what plugins provide: the hooks, how plugins are loaded, and the catalogue of what they returned."""
