"""How far the proposals of a draft would get, from the scores of consecutive tokens, whoever drafted them.

With g_1, g_2, ... the chances that the draft's token is accepted at consecutive places of the text, a block of K
tokens that starts at place t yields

    L_t = sum over k = 1..K+1 of k (1 - g_(t+k-1)) prod over j < k of g_(t+j-1),     the (K+1)-th g being 0

tokens, the target's own included (HedgeSpec, https://arxiv.org/abs/2510.20064). Summed by parts that is 1 + Q_1 +
... + Q_K, where Q_k is the product of k scores from t on. So the mean of L over all t, for every K at once, needs
only the mean of Q_k for each k. Here it is a fading mean: a token weighs 1 - 1/window times what its successor
does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Iterator


class Survival:
    """Fading sums of Q_1, ..., Q_size.

    Attributes:
        products: Q_k of the last k tokens, for as many as there are in a row.
        sums: Of the Q_k, faded.
        counts: How many tokens each sum is over, faded alike.
    """

    __slots__ = ("counts", "products", "sums")

    def __init__(self, size: int) -> None:
        self.products: list[float] = []
        self.sums = [0.0] * size
        self.counts = [0.0] * size

    def add(self, score: float, keep: float) -> None:
        """Take in the score of the next token; what was before weighs `keep` times as much from now on."""
        sums, counts = self.sums, self.counts
        products = [score]
        products += [score * product for product in self.products[: len(sums) - 1]]
        for k, product in enumerate(products):
            sums[k] = sums[k] * keep + product
            counts[k] = counts[k] * keep + 1.0
        self.products = products

    def pause(self) -> None:
        """The next token does not follow the last one: another text begins."""
        self.products = []

    def tokens(self, gamma: int) -> float:
        """Return the mean of L for blocks of `gamma` tokens."""
        survival, tokens = 1.0, 1.0
        chances = self.chances()
        for _ in range(gamma):
            survival *= next(chances, 0.0)
            tokens += survival
        return tokens

    def chances(self) -> Iterator[float]:
        """Yield, for k = 1, 2, ..., the chance that token k is accepted once it is reached: Q_k / Q_(k-1), at most 1.

        Where no k tokens in a row were seen yet, the chance of the first one stands in.
        """
        before = 1.0
        for total, count in zip(self.sums, self.counts, strict=True):
            if count <= 0.0:
                first = self.sums[0] / self.counts[0] if self.counts[0] else 0.0
                yield first
                continue
            mean = total / count
            yield min(mean / before, 1.0) if before > 0.0 else 0.0
            before = min(mean, before)

    def save(self) -> list[list[float]]:
        """Return everything as JSON-able values."""
        return [list(self.products), list(self.sums), list(self.counts)]


def read_survival(saved: object, size: int, what: str) -> Survival:
    """Return what `save` wrote.

    Raises:
        ValueError: It is damaged or of another size.
    """
    products, sums, counts = (
        [float(check_count(one, what)) for one in check_list(numbers, what)]
        for numbers in check_list(saved, what, length=3)
    )
    if len(products) > size or not len(sums) == len(counts) == size:
        raise ValueError(f"the saved state is damaged or of other options: {what} is not of length {size}")
    found = Survival(size)
    found.products, found.sums, found.counts = products, sums, counts
    return found
