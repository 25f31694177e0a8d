"""Rounds as programs of fixed shape: captured as CUDA graphs on a GPU, called as they are elsewhere.

A program reads and writes buffers that stay where they are; positions, lengths and settings are numbers on the device.
So the same program serves every round, and on a GPU it is recorded once and replayed. `opening` is the way in.
"""
