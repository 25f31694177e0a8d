"""`python -m paceline.lab.cli` is the `paceline` command."""

from paceline.lab.cli.app import main

main()
