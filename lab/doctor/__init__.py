"""What `paceline doctor` looks at and tries; the command shows it."""
