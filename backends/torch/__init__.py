"""The runtime that models share, whoever computes their passes: sessions, sampling, tokenizers, loading."""
