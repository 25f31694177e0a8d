"""Acceptance probabilities of draft tokens, position by position, learnt from what became of earlier rounds.

A round whose first m draft tokens were accepted and whose next was refused tells what every other gamma would have
yielded: min(m, gamma). A round accepted as a whole, or cut by the end of the text, says nothing of a larger gamma: it
is censored. So position k has y_k acceptances and f_k refusals among the rounds that reached it, both fading with each
further round of evidence, and the probability to be accepted once it is reached, which is one minus the hazard of a
discrete-time survival curve (Kaplan and Meier 1958), is estimated as

    t    = min(1, M (p + q) / p)                          the trust that it has earned
    M    = (Y + p) / (Y + F + p + q)                      its mean in the long run, with Y and F fading slower
    m    = (sum y + t p) / (sum y + sum f + p + q)        the mean of the draft
    a_k  = (y_k + s m) / (y_k + f_k + s)                  drawn towards that mean with the weight of s observations
    a_bk = (y_bk + 4 t u) / (y_bk + f_bk + 4)             within a bucket of match lengths, drawn towards what a
    u    = o / (1 + o),  o = (l + k)^(4/3) / 3            match of l + k tokens promises; k counts from 0 here

A draft that nobody hears of fades, and so comes to be trusted as it was in the long run: one that was good gets another
chance soon, one that never was does not.

A match length, l, is what some drafts know before they draft, as prompt lookup does: the longer the run of tokens that
was seen before, the likelier it goes on as it did. Before anything is known of a bucket, the odds of a token are taken
for a third of the length to the power of 4/3: fitted to prompt lookup on answers of 128 to 160 tokens by a chat model
of 135M and a code model of 20M, greedy and at temperature 0.8, where the first token was right in .18 to .34 of matches
of one token, .46 to .60 of 2 or 3, .74 to .81 of 4 to 7, .84 to .94 of 8 to 15, .90 to 1 of longer ones. Lengths within
the same power of two share a bucket. All of this is ours, pieced together from standard parts; that several serving
systems came to per-position acceptance times measured cost independently speaks for it (SGLang pull request 28045, the
dynamic speculation of vLLM).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from math import exp, log, sqrt
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, PolicyState, Summed, Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

VERDICTS = ("accepted", "refused")


@dataclass(slots=True)
class Hazards(PolicyState):
    """Discounted counts for positions 0 to size - 1: accepted there, refused there, each given it was reached."""

    size: Unsaved[int]
    accepted: Summed[list[Amount]] = field(init=False)
    refused: Summed[list[Amount]] = field(init=False)

    def __post_init__(self) -> None:
        self.accepted = [0.0] * self.size
        self.refused = [0.0] * self.size

    def age(self, discount: float) -> None:
        """Let everything known weigh less."""
        self.accepted = [count * discount for count in self.accepted]
        self.refused = [count * discount for count in self.refused]

    def count(self, accepted: int, *, refused: bool) -> None:
        """Count one proposal: so many tokens accepted and, if one was refused, that one."""
        for position in range(min(accepted, len(self.accepted))):
            self.accepted[position] += 1.0
        if refused and accepted < len(self.refused):
            self.refused[accepted] += 1.0

    def count_scores(self, scores: Sequence[float]) -> None:
        """Count one proposal by the probability of each token to be accepted: what it reaches, it reaches in part."""
        reached = 1.0
        for position, score in enumerate(scores[: len(self.accepted)]):
            self.accepted[position] += reached * score
            self.refused[position] += reached * (1.0 - score)
            reached *= score
            if not reached:
                break

    def statistics(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield the counts, each by its position and what became of the token there."""
        for position, counts in enumerate(zip(self.accepted, self.refused, strict=True)):
            yield from (
                ((str(position), verdict), count) for verdict, count in zip(VERDICTS, counts, strict=True)
            )

    def add_statistic(self, path: Sequence[str], amount: float) -> None:
        """Add to one count; positions that are not counted here are left out.

        Raises:
            LookupError: There is no such count.
        """
        if len(path) != 2 or path[1] not in VERDICTS or not path[0].isdecimal():
            raise LookupError(path)
        if int(path[0]) < self.size:
            getattr(self, path[1])[int(path[0])] += amount

    def posterior(self, prior: tuple[float, float], pooling: float) -> Iterator[tuple[float, float]]:
        """Yield the two parameters of each position's Beta distribution, pooled towards the mean of all."""
        right, wrong = sum(self.accepted) + prior[0], sum(self.refused) + prior[1]
        more_right, more_wrong = pooling * right / (right + wrong), pooling * wrong / (right + wrong)
        for y, f in zip(self.accepted, self.refused, strict=True):
            yield y + more_right, f + more_wrong


LOG_4 = log(4.0)
ONE_PLUS_LOG_5 = 1.0 + log(5.0)


def draw_beta(random: Random, right: float, wrong: float) -> float:
    """Return one draw from Beta(right, wrong).

    Algorithm BB of Cheng 1978 ("Generating beta variates with nonintegral shape parameters",
    https://doi.org/10.1145/359460.359482): a rejection from a log-logistic envelope, for parameters that are both
    above 1, as those of a posterior with any evidence are. Others are left to the standard library.
    """
    if right <= 1.0 or wrong <= 1.0:
        return random.betavariate(right, wrong)
    less, more = (right, wrong) if right < wrong else (wrong, right)
    total = right + wrong
    scale = sqrt((total - 2.0) / (2.0 * right * wrong - total))
    offset = less + 1.0 / scale
    uniform = random.random
    while True:
        first = uniform()
        second = uniform()
        if not first or not second:
            continue
        odds = scale * log(first / (1.0 - first))
        weight = less * exp(odds)
        product = first * first * second
        envelope = offset * odds - LOG_4
        surplus = less + envelope - weight
        if surplus + ONE_PLUS_LOG_5 >= 5.0 * product:
            break
        limit = log(product)
        if surplus > limit or envelope + total * log(total / (more + weight)) >= limit:
            break
    share = weight / (more + weight)
    return share if right < wrong else 1.0 - share


LARGEST_BUCKET = 6  # match lengths of 32 and more, further than prompt lookup measures a match
BUCKET_POOLING = 4.0  # observations that the length of a match is worth to a bucket
LONG_RUN_FACTOR = (
    6.0  # the long run fades so many times slower: at a discount of 0.94 that is a hundred rounds
)
ALL = "all"
BUCKETS = frozenset({ALL, *map(str, range(LARGEST_BUCKET + 1))})


def bucket(match_length: int | None) -> str:
    """Return the bucket of a match length: "all" for drafts without one, else "0" to "6", powers of two."""
    return ALL if match_length is None else str(min(match_length.bit_length(), LARGEST_BUCKET))


def _prob_after_match(length: int) -> float:
    odds: float = length ** (4.0 / 3.0) / 3.0
    return odds / (1.0 + odds)


PROBS_AFTER_MATCHES = tuple(map(_prob_after_match, range(257)))


def prob_after_match(length: int) -> float:
    """Return u, the probability of a token after a match of so many tokens before anything is known of the draft."""
    return PROBS_AFTER_MATCHES[min(max(length, 1), 256)]


@dataclass(slots=True)
class Acceptance(PolicyState):
    """Counts of one draft's accepted and refused tokens, and the probabilities that follow from them.

    Attributes:
        size: Positions that are counted: the largest gamma.
        discount: Weight of what is known, for each further round of evidence.
        prior: Accepted and refused tokens assumed of a draft nothing is known about (p and q).
        pooling: Observations that a mean is worth at each position (s).
        counts: By bucket of match lengths.
        long_run: Y + p and F + q, which fade slowly.
    """

    size: Unsaved[int]
    discount: Unsaved[float]
    prior: Unsaved[tuple[float, float]]
    pooling: Unsaved[float]
    counts: Summed[defaultdict[str, Hazards]] = field(init=False)
    long_run: list[Amount] = field(init=False)
    slower: Unsaved[float] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = defaultdict(partial(Hazards, self.size))
        self.long_run = list(self.prior)
        self.slower = self.discount ** (1.0 / LONG_RUN_FACTOR)

    def check(self) -> None:
        """Check that the long run holds something, and that the buckets exist."""
        if sum(self.long_run) <= 0.0:
            raise ValueError("the saved state is damaged: the long run of a draft holds no counts")
        if unknown := self.counts.keys() - BUCKETS:
            raise ValueError(f"there is no bucket {min(unknown)!r}, in a saved state or a statistic")

    def observe(self, match_length: int | None, accepted: int, *, refused: bool) -> None:
        """Count a proposal: so many tokens accepted, and whether the next one was refused."""
        for hazards in self._aged(match_length):
            hazards.count(accepted, refused=refused)
        within = min(accepted, self.size)
        self._remember(within, float(refused and within == accepted and accepted < self.size))

    def count_scores(self, match_length: int | None, scores: Sequence[float]) -> None:
        """Count a proposal that was never made, by the probability of each of its tokens to have been accepted."""
        for hazards in self._aged(match_length):
            hazards.count_scores(scores)
        right = wrong = 0.0
        reached = 1.0
        for score in scores[: self.size]:
            right += reached * score
            wrong += reached * (1.0 - score)
            reached *= score
        self._remember(right, wrong)

    def acceptance_probs(self, match_length: int | None) -> Iterator[float]:
        """Return a_1, a_2, ... or for a match length a_b1, a_b2, ..., as many as are counted, each made when read."""
        # What was assumed at first, less where the draft has proved worse than that in the long run.
        right, wrong = self.long_run
        trust = min(1.0, right / (right + wrong) * sum(self.prior) / self.prior[0])
        if match_length is not None:
            mine = self.counts[bucket(match_length)]
            return (
                (y + BUCKET_POOLING * trust * prob_after_match(match_length + k)) / (y + f + BUCKET_POOLING)
                for k, (y, f) in enumerate(zip(mine.accepted, mine.refused, strict=True))
            )
        whole, s = self.counts[ALL], self.pooling
        accepted = sum(whole.accepted)
        mean = (accepted + trust * self.prior[0]) / (accepted + sum(whole.refused) + sum(self.prior))
        return ((y + s * mean) / (y + f + s) for y, f in zip(whole.accepted, whole.refused, strict=True))

    def sample(self, match_length: int | None, random: Random) -> Iterator[float]:
        """Yield one draw of each probability from its Beta posterior, whose mean `acceptance_probs` gives."""
        mine = self.counts[bucket(match_length)]
        weight = self.pooling if match_length is None else BUCKET_POOLING
        for y, f, acceptance_prob in zip(
            mine.accepted, mine.refused, self.acceptance_probs(match_length), strict=True
        ):
            total = y + f + weight
            yield draw_beta(random, acceptance_prob * total, (1.0 - acceptance_prob) * total)

    def rest(self, discount: float) -> None:
        """Let all that is known weigh less, so that a draft nobody hears of comes to be trusted as in the long run."""
        for hazards in self.counts.values():
            hazards.age(discount)

    def add_statistic(self, path: Sequence[str], amount: float) -> None:
        """Add to one count, and where it is of all match lengths to the long run."""
        PolicyState.add_statistic(self, path, amount)
        if path[0] == ALL and int(path[1]) < self.size:
            self.long_run[VERDICTS.index(path[2])] += amount

    def _remember(self, right: float, wrong: float) -> None:
        self.long_run[0] = self.slower * self.long_run[0] + right
        self.long_run[1] = self.slower * self.long_run[1] + wrong

    def _aged(self, match_length: int | None) -> list[Hazards]:
        """Let what a round of evidence for this match length bears on weigh less, and return it."""
        touched = [self.counts[name] for name in dict.fromkeys((ALL, bucket(match_length)))]
        for hazards in touched:
            hazards.age(self.discount)
        return touched
