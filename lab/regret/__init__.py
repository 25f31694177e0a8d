"""How far policies are from what was possible: regret, headroom captured, and intervals over texts."""
