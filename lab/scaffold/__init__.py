"""The package that `paceline new-policy` writes: its names, its files, and the templates that they are made from."""
