"""Replay: any policy, unchanged, over a recording, in virtual time."""
