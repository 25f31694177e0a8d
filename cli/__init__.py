"""The `paceline` command: one module for each of its commands, and what they share."""

from paceline.cli.app import main

__all__ = ["main"]
