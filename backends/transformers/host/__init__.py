"""Caches and `generate`: all that is read of transformers beyond its documented names, each with its reason.

What a new release can break is in this folder and in `torch/host`, which is about models and their loading, and nowhere
else: names that change, classes and attributes that no page promises. A test keeps it so.
"""
