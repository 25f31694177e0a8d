"""The small pair of models shipped with paceline, so that everything can be tried without a download."""
