"""Policies side by side: interleaved runs, ratios against plain decoding, and how sure they are."""
