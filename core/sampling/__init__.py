"""Lossless sampling: how tokens are drawn, and the rule by which drawn draft tokens are accepted."""
