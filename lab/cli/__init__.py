"""The `paceline` command: one module for each of its commands, and what they share."""

from paceline.lab.cli.app import main

__all__ = ["main"]
