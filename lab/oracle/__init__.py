"""What the best possible decisions would have taken: optima of a recording that no policy can beat."""
