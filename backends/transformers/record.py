"""What `generate` returns besides tokens: the scores and logits of each new token of one row."""

from __future__ import annotations

import torch


class Record:
    """Keeps one row of scores, or logits, or both, for each token delivered.

    Args:
        scores: Keep what tokens were chosen by, after all processors.
        logits: Keep what the model said.
    """

    def __init__(self, *, scores: bool, logits: bool) -> None:
        self._wanted = {"scores": scores, "logits": logits}
        self._kept: dict[str, list[torch.Tensor]] = {"scores": [], "logits": []}
        self._offered: dict[str, list[torch.Tensor]] = {"scores": [], "logits": []}

    @property
    def scores(self) -> list[torch.Tensor]:
        """Of each token delivered, float32, shape (1, vocabulary)."""
        return self._kept["scores"]

    @property
    def logits(self) -> list[torch.Tensor]:
        """Of each token delivered, float32, shape (1, vocabulary)."""
        return self._kept["logits"]

    def offer(self, kind: str, rows: torch.Tensor) -> None:
        """Note rows of a round before it is known which of its tokens are delivered; a copy is kept."""
        if self._wanted[kind]:
            self._offered[kind].extend(rows[i : i + 1].to(torch.float32, copy=True) for i in range(len(rows)))

    def settle(self, count: int) -> None:
        """Keep the first `count` rows of the round."""
        for kind, rows in self._offered.items():
            self._kept[kind].extend(row.clone() for row in rows[:count])
            rows.clear()

    def scores_until(self, length: int) -> tuple[torch.Tensor, ...] | None:
        """Return the scores of the first `length` tokens, those of the round under way included."""
        if not self._wanted["scores"]:
            return None
        return tuple([*self._kept["scores"], *self._offered["scores"]][:length])
