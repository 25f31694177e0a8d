"""Tools on top of the loop: the command line, and policies measured side by side."""
