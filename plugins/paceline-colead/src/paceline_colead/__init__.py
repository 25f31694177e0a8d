"""Programs from queries, by the documentation of a command language."""
