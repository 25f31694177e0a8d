"""Drafts made for a target: trained on what it writes, on any machine that runs it."""
