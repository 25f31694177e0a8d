"""`python -m paceline.cli` is the `paceline` command."""

from paceline.cli.app import main

main()
