"""Looks at choices that are not in use, at a price that is bounded.

What is not used is not measured, and what is not measured may have changed: a draft that was too dear while another
process held the core, a draft that guessed badly on another kind of text, plain decoding while everything drafts. A
look costs what its round takes longer than the best choice would for the same tokens. So a share of all time is saved
for looks; one is due when what it is expected to cost has been saved, and it pays what it did cost. Looks that turn out
well pay in. Over any stretch, looks take no more than `SHARE` of the time, and `MOST_SAVED` plain steps.

Where even a dear look is cheap against the time since the last one, it is due after `PATIENCE` rounds: a choice that
was dear when it was last seen is not forgotten, at no more than `DEAREST / PATIENCE` of the time, 1.25 %. A look at a
choice that was in use a short while ago may take a part of what was saved only, and all of it after `RISING` rounds:
there may soon be a better moment, such as a longer match.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from paceline.core.state.declared import Count, PolicyState, Unsaved

if TYPE_CHECKING:
    from paceline.core.records import Round

SHARE = 0.005
"""Of all time, for looks."""

PATIENCE = 320
"""Rounds after which a look is due even where not enough was saved, if it costs no more than `DEAREST` steps."""

DEAREST = 4.0
MOST_SAVED = 4.0
"""Plain steps that are saved at most, so that a long quiet time is not followed by a burst of looks."""

CREDIT = 0.5
"""Plain steps that may be spent before any were saved: a draft that is unlucky at first gets another chance. In an
answer of 32 tokens they are 1.6 % of the time."""

APART = 8
"""Rounds between two looks at the same choice, unless the last one turned out well."""

RISING = 64
"""Rounds within which the price that may be paid for a look at a choice rises to all that was saved."""

PLAIN = "plain decoding"


def tree_of(draft: str) -> str:
    """Return what the trees of a draft are called among choices."""
    return f"trees of {draft}"


@dataclass(slots=True)
class Exploration(PolicyState):
    """Saves a share of the time, and says when a look at a choice is due.

    Attributes:
        saved: In plain steps, so that it keeps its worth on a machine that changes; looks may have cost more.
        waited: Rounds since each choice was used.
        look: The look under way, and the seconds a token that the best choice would take.
    """

    saved: Annotated[float, Field(ge=-1e12, le=MOST_SAVED)] = CREDIT
    waited: dict[str, Count] = field(default_factory=partial(defaultdict, int))
    look: Unsaved[tuple[str, float] | None] = None

    def due(self, choice: str, price_s: float, plain_s: float) -> bool:
        """Tell whether to look at a choice now.

        Args:
            choice: A draft, or `PLAIN`.
            price_s: Seconds that a round of it takes longer than the best choice would for what it should yield.
            plain_s: Seconds of a plain step.
        """
        first = choice == PLAIN and PLAIN not in self.waited
        waited = RISING if first else self.waited.setdefault(choice, APART)
        if waited < APART:
            return False
        price = price_s / plain_s if plain_s > 0.0 else 0.0
        # How well a draft does is worth knowing at once, on credit; plain decoding can be guessed from blocks.
        saved = self.saved - (CREDIT if first else 0.0)
        return price <= saved * min(1.0, waited / RISING) or (waited >= PATIENCE and price <= DEAREST)

    def begin(self, choice: str, token_s: float) -> None:
        """Note that the round that starts now is a look; the best choice would take `token_s` seconds a token."""
        self.look = choice, token_s

    def observe(self, done: Round, plain_s: float) -> None:
        """Save a share of the round's time, or pay for it if it was a look."""
        look, self.look = self.look, None
        used = done.plan.draft if done.drafted and done.plan.draft is not None else PLAIN
        if done.tree is not None:
            used = tree_of(used)
        for choice in {*self.waited, used}:
            self.waited[choice] = 0 if choice == used else self.waited[choice] + 1
        if plain_s <= 0.0:
            return
        self.saved += SHARE * done.total_s / plain_s
        if look is not None:
            choice, token_s = look
            self.saved -= (done.total_s - done.emitted * token_s) / plain_s
            if done.accepted:
                self.waited[choice] = APART
        self.saved = min(self.saved, MOST_SAVED)
