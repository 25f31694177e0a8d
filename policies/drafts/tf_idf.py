"""TF-IDF of token ids, in bounded memory and without a corpus: hashed, and weighed by the prompts seen so far.

Tokens are hashed into r buckets (feature hashing, Weinberger et al. 2009, https://arxiv.org/abs/0902.2206, without
the signs, since counts must not cancel). With tf the share of a prompt's tokens that fall into a bucket, N the
prompts so far, this one included, and df those of them with a token there,

    idf = 1 + ln((1 + N) / (1 + df))          v = tf idf, divided by its Euclidean length

which is the smoothed form of scikit-learn (https://scikit-learn.org/stable/modules/feature_extraction.html). The
ACL 2025 paper names TF-IDF as a feature of a prompt and says neither over which terms nor from which corpus.
"""

from __future__ import annotations

from collections import Counter
from math import log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SPREAD = 0x9E3779B1  # the golden ratio times 2^32, made odd: neighbouring ids land far apart


def bucket(token: int, buckets: int) -> int:
    """Return the bucket of a token, the same in every process."""
    return ((token * SPREAD & 0xFFFFFFFF) * buckets) >> 32


class TfIdf:
    """Counts in how many prompts each bucket occurred.

    Attributes:
        prompts: N.
        frequencies: df of each bucket.
    """

    __slots__ = ("frequencies", "prompts")

    def __init__(self, buckets: int) -> None:
        self.prompts = 0.0
        self.frequencies = [0.0] * buckets

    def read(self, tokens: Iterable[int]) -> list[float]:
        """Count a prompt in, and return its vector, which is all zeros for a prompt without tokens."""
        size = len(self.frequencies)
        counts = [0] * size
        for token, count in Counter(tokens).items():
            counts[bucket(token, size)] += count
        self.prompts += 1.0
        for place, count in enumerate(counts):
            self.frequencies[place] += count > 0
        vector = [
            count * (1.0 + log((1.0 + self.prompts) / (1.0 + seen))) if count else 0.0
            for count, seen in zip(counts, self.frequencies, strict=True)
        ]
        length = sqrt(sum(value * value for value in vector))
        return [value / length for value in vector] if length else vector
