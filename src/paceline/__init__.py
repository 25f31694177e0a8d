"""Adaptation policies for speculative decoding."""
