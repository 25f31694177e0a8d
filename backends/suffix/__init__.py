"""A draft without a model that counts what followed: suffix trees, what is remembered of requests, and the draft."""
