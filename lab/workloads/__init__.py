"""Workloads: which prompts are decoded, from a file or under a name, and what else of the run belongs to them."""
