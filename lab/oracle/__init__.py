"""Times of the best possible decisions: optima of a recording that no policy can beat."""
