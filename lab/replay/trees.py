"""Trees of recorded drafts: which choice was right at each place is known, and so is what any tree would have come to.

A recording does not hold how sure a draft was of its further choices. So its trees grow as if each choice were as
likely everywhere as it was right in this text: a draft that knows where it is sure grows better ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.recorded import ScoringDraftSession
from paceline.core.trees import ROOT, Listed, TokenTree, depths, grow_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.proposals import DraftControl
    from paceline.core.recorded import RecordedDraft

MAX_NODES = 64
"""The most draft tokens of a tree in a replay."""


class Ranks:
    """Choices of one draft that were right in one text, and the trees that it grows.

    Args:
        ranks: See `Starts.ranks`.
        choices: See `DraftInfo.choices`.
    """

    def __init__(self, ranks: Sequence[int], choices: int) -> None:
        self.ranks = ranks
        counts = [sum(rank == choice for rank in ranks) for choice in range(choices)]
        # Siblings stand in the draft's own order, whichever of the further ones was right more often here.
        falling = sorted(counts, reverse=True)
        # Half a token more each: a choice that was never right here is a choice all the same.
        self._probs = [
            (choice, (count + 0.5) / (len(ranks) + choices)) for choice, count in enumerate(falling)
        ]
        self._grown: dict[tuple[int, int, int], TokenTree] = {}

    def shape(self, gamma: int, nodes: int, width: int) -> TokenTree:
        """Return a tree whose tokens are the ranks of its nodes among their siblings."""
        key = gamma, nodes, width
        if key not in self._grown:
            self._grown[key] = grow_tree(lambda _: Listed(self._probs), gamma, nodes, width)
        return self._grown[key]


class BranchingDraftSession(ScoringDraftSession):
    """A recorded draft at work that can propose several tokens for one place."""

    def __init__(self, draft: RecordedDraft, prompt_tokens: int, ranks: Ranks) -> None:
        super().__init__(draft, prompt_tokens)
        self._ranks = ranks

    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TokenTree:
        """Propose a tree that holds the text's tokens where they are among the choices it takes; it has no signals."""
        del control
        shape, ranks, text = self._ranks.shape(gamma, nodes, width), self._ranks.ranks, self._draft.tokens
        place, wrong = self._place, self._draft.wrong
        tokens: list[int] = []
        right: dict[int, int] = {ROOT: place}  # nodes of the text, and the place after each
        for node, (rank, parent) in enumerate(zip(shape.tokens, shape.parents, strict=True)):
            at = right.get(parent, len(text))
            if at < len(text) and ranks[at] == rank:
                right[node] = at + 1
                tokens.append(text[at])
            else:
                tokens.append(wrong - rank)
        self._drafted = max(depths(shape.parents), default=0)
        return TokenTree(tuple(tokens), shape.parents)
