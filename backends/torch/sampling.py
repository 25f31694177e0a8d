"""Sampling of one request on the device with transformers' own processors, and speculative rejection sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional as F
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from paceline.core.errors import BackendError
from paceline.core.processors import process_row
from paceline.core.proposals import SampledProposal, TokenVerdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from paceline.core.processors import LogitsProcessor
    from paceline.core.protocols import Proposal
    from paceline.core.records import TokenSignals
    from paceline.core.sampling import Sampling


WARPERS: Final = frozenset(
    {
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    }
)
"""Those processors of a request's settings that look at the logits alone."""


class LogitsProcessors:
    """Processors in the order in which `generate` applies them.

    Args:
        processors: Each maps tokens and scores to scores.
        context_free: The classes that look at the logits alone, so that all positions of a block are one call.

    Attributes:
        reads: Whether any of them looks at the tokens before a position.
    """

    def __init__(self, processors: Iterable[Any] = (), context_free: Collection[type] = WARPERS) -> None:
        self.processors = tuple(processors)
        self.reads = any(type(each) not in context_free for each in self.processors)
        self._whole_blocks = frozenset({*context_free, RequestProcessors})

    def __bool__(self) -> bool:
        return bool(self.processors)

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return processed scores.

        Args:
            text: Shape (1, tokens): what stands before the last row of scores. Each row above has one token less.
            scores: Shape (rows, vocabulary).

        Raises:
            BackendError: A processor answers with something else than a row of scores for each row.
        """
        first = text.shape[1] - len(scores) + 1
        for processor in self.processors:
            if type(processor) in self._whole_blocks or len(scores) == 1:
                scores = checked_scores(processor, processor(text, scores), len(scores))
            else:
                rows = (
                    processor(text[:, : first + row], scores[row : row + 1]) for row in range(len(scores))
                )
                scores = torch.cat(list(rows))
        return scores


class RequestProcessors:
    """The processors of `Sampling`, which read plain tokens and one row of logits."""

    def __init__(self, processors: Sequence[LogitsProcessor]) -> None:
        self._processors = processors

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return processed scores, as `LogitsProcessors` asks for them; costs a copy from the device a row.

        What stands after a token that they make impossible cannot be delivered, and stays as it was: they need not know
        what to say about such a text.
        """
        tokens: list[int] = text[0].tolist()
        first, rows = len(tokens) - len(scores) + 1, list(scores)
        for place, row in enumerate(rows):
            rows[place] = process_row(self._processors, tokens[: first + place], row).to(row)
            if place + 1 < len(rows) and rows[place][tokens[first + place]] == -torch.inf:
                break
        return torch.stack(rows)


def checked_scores(processor: Any, answer: Any, rows: int) -> torch.Tensor:
    """Return what a processor answered.

    Raises:
        BackendError: It is something else than a row of scores for each row.
    """
    if isinstance(answer, torch.Tensor) and answer.dim() == 2 and len(answer) == rows:
        return answer
    shape = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else repr(answer)
    raise BackendError(
        f"hf: {type(processor).__name__} returns {shape} for scores of {rows} rows; let it return one row of scores "
        "for each"
    )


class DeviceRng:
    """All the draws of one session, on the device; a CUDA graph may replay them.

    Args:
        device: Where weights lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.Generator(device=device)

    def seed(self, seed: int) -> None:
        """Begin anew."""
        self.generator.manual_seed(seed)

    def draw(self, weights: torch.Tensor) -> torch.Tensor:
        """Return for each row a token with a probability proportional to its weight, shape (rows,); nothing is copied.

        On the CPU a uniform number is looked up among the sums of the weights, in a fifth of the time for 4096 tokens.
        Elsewhere the first of independent exponential clocks to ring, each going at the rate of its weight, is a draw
        by weight. `torch.multinomial` draws the same way, but first waits for the device to check its input.
        """
        if weights.device.type == "cpu":
            sums = weights.cumsum(-1, dtype=torch.float64)
            numbers = torch.rand(
                (len(weights), 1), dtype=torch.float64, device=weights.device, generator=self.generator
            )
            # Below the sum of all, so that what cannot be drawn never is: the first sum above belongs to a weight.
            below = torch.minimum(numbers * sums[:, -1:], sums[:, -1:].nextafter(torch.zeros_like(numbers)))
            return torch.searchsorted(sums, below, right=True).squeeze(1)
        clocks = torch.empty_like(weights).exponential_(generator=self.generator)
        # A clock that rings at 0 would make 0 / 0 of a token that cannot be drawn.
        return (weights / clocks.clamp_min_(torch.finfo(weights.dtype).tiny)).argmax(dim=-1)

    def accept(self, target_probs: torch.Tensor, draft_probs: torch.Tensor) -> torch.Tensor:
        """Return for each pair of probabilities p and q whether a token is accepted: True with min(1, p / q)."""
        numbers = torch.empty_like(target_probs).uniform_(generator=self.generator)
        # Strictly below: a token without a chance is refused also where the number is 0.
        return numbers * draft_probs < target_probs


class Sampler:
    """The processors and the draws of one session.

    Args:
        sampling: What is applied; its seed is the generator's.
        prompt: The tokens of the prompt, as the processors shall see it.
        device: Where logits are processed and tokens drawn.
        processors: Applied instead of what `sampling` says, which then tells only the seed and whether it is greedy.
        columns: The number of scores that `processors` expect, if not the model's own.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        device: torch.device,
        *,
        processors: LogitsProcessors | None = None,
        columns: int | None = None,
    ) -> None:
        self._greedy = sampling.greedy
        self._device = device
        self.rng = DeviceRng(device)
        self.rng.seed(sampling.seed)
        self._logits_processors = (
            LogitsProcessors(_processors(sampling)) if processors is None else processors
        )
        self._columns = columns
        # Where no processor reads the context, none is kept.
        self._context = self.tokens(prompt if self._logits_processors.reads else ())

    def tokens(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return tokens as the processors read them, shape (1, tokens)."""
        return torch.tensor([list(tokens)], device=self._device, dtype=torch.long)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        if self._logits_processors.reads:
            self._context = torch.cat([self._context, self.tokens(tokens)], dim=1)

    @torch.inference_mode()
    def process(self, logits: torch.Tensor, tried: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """Return the scores that tokens are drawn from, each row after the tokens that stand before it.

        Args:
            logits: Shape (rows, vocabulary). The last row is about the token after context and `tried`, each row above
                about the token before.
            tried: Tokens after the context, shapes (1, some).
            width: Only tokens below this can be drawn.

        Returns:
            float64 where logits to be drawn from are, else float32, shape (rows, width).
        """
        # In float32 like `generate` where the likeliest is taken, so that ties are broken alike.
        precise = logits.dtype == torch.float64 and not self._greedy
        scores = logits.to(self._device, torch.float64 if precise else torch.float32)[:, :width]
        if not self._logits_processors.reads:
            return self._logits_processors(self._context, scores)
        # Tokens of the context may lie beyond the width.
        beyond = (self._columns or logits.shape[1]) - width
        if beyond > 0:
            scores = F.pad(scores, (0, beyond), value=-torch.inf)
        return self._logits_processors(torch.cat([self._context, *tried], dim=1), scores)[:, :width]

    def process_ways(self, logits: torch.Tensor, ways: Sequence[Sequence[int]], width: int) -> torch.Tensor:
        """Return scores as `process` does, each row after its own tokens behind the context: a way in a tree."""
        if not self._logits_processors.reads:
            return self.process(logits, (), width)
        rows = (
            self.process(logits[row : row + 1], [self.tokens(way)], width) for row, way in enumerate(ways)
        )
        return torch.cat([*rows])

    @torch.inference_mode()
    def probs(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the probabilities that processed scores stand for; all on the likeliest token when greedy."""
        if self._greedy:
            return F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(scores.dtype)
        return torch.softmax(scores, dim=-1)

    def token_probs(self, logits: torch.Tensor, tokens: Sequence[int], width: int) -> list[float]:
        """Return the probability that each of `tokens`, which follow the context, is drawn after those before it.

        Args:
            logits: One row a token, shape (len(tokens), vocabulary).
            tokens: They need not be below `width`; those that are not have no share.
            width: As in `process`.
        """
        probs = self.probs(self.process(logits, [self.tokens(tokens[:-1])], width))
        known = [min(token, width - 1) for token in tokens]
        known_probs: list[float] = probs.gather(1, self.tokens(known).T).flatten().tolist()
        return [
            # Rounding may carry a share past 1.
            min(prob, 1.0) if token < width else 0.0
            for prob, token in zip(known_probs, tokens, strict=True)
        ]

    @torch.inference_mode()
    def draw(self, weights: torch.Tensor) -> torch.Tensor:
        """Return one token a row, with a probability proportional to its weight, shape (rows, 1); nothing is copied."""
        return self.rng.draw(weights).unsqueeze(1)


def _processors(sampling: Sampling) -> list[Any]:
    """Return what the settings ask for, in the order of `generate`."""
    processors: list[Any] = []
    if sampling.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.processors:
        processors.append(RequestProcessors(sampling.processors))
    if not sampling.greedy and sampling.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p is not None:
        processors.append(MinPLogitsWarper(sampling.min_p))
    if sampling.typical_p is not None:
        processors.append(TypicalLogitsWarper(sampling.typical_p))
    return processors


@dataclass(frozen=True, slots=True, eq=False)
class DeviceProposal:
    """Draft tokens on the host, with the distributions they were drawn from still on the device.

    Attributes:
        draft_probs: Shape (tokens, vocabulary of the draft).
    """

    tokens: tuple[int, ...]
    draft_probs: torch.Tensor
    signals: tuple[TokenSignals, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


def draft_probs_of(proposal: Proposal | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return the distributions that tokens were drawn from, no wider than `like`; None where the proposal is silent."""
    if isinstance(proposal, DeviceProposal):
        draft_probs = proposal.draft_probs
    elif isinstance(proposal, SampledProposal):
        rows = [torch.as_tensor(row, dtype=like.dtype) for row in proposal.draft_probs]
        draft_probs = torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True
        )  # a short row has 0 for the rest
    else:
        return None
    return draft_probs[:, : like.shape[-1]].to(like)


@torch.inference_mode()
def rejection_sample(
    guess: Sequence[int], draft_probs: torch.Tensor | None, target_probs: torch.Tensor, sampler: Sampler
) -> TokenVerdict:
    """Return the verdict on draft tokens, in one copy from the device.

    Args:
        guess: The tokens.
        draft_probs: The distributions they were drawn from, shape (tokens, at most vocabulary); None where they are not
            known, so that each token counts as certain.
        target_probs: The target's distributions after each token before, shape (tokens + 1, vocabulary).
        sampler: The target's own.
    """
    if not guess:
        return TokenVerdict(0, (int(sampler.draw(target_probs)),))
    tokens = torch.tensor(guess, device=target_probs.device)
    accepted, last = accept_or_redraw(target_probs, draft_probs, tokens, len(guess), sampler.rng)
    count, token = torch.cat([accepted, last]).tolist()
    return TokenVerdict(count, (*guess[:count], token))


def accept_or_redraw(
    target_probs: torch.Tensor,
    draft_probs: torch.Tensor | None,
    tokens: torch.Tensor,
    count: torch.Tensor | int,
    rng: DeviceRng,
    certain: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many draft tokens are accepted, and the token that is drawn after them, each of shape (1,).

    The rule of `paceline.core.rejection_sampling` on tensors; nothing is copied from the device.

    Args:
        target_probs: p after each token before, shape (tokens + 1, vocabulary).
        draft_probs: q that each token was drawn from, shape (tokens, at most vocabulary); None where none is known.
        tokens: The draft's, shape (tokens,), at least one.
        count: How many of them are proposed.
        rng: The target's own.
        certain: Whether q is unknown after all, shape (1,), so that each token counts as certain.
    """
    ids = tokens.unsqueeze(1)
    p = target_probs[:-1].gather(1, ids).squeeze(1)
    if draft_probs is None:
        q = torch.ones_like(p)
    else:
        q = draft_probs.gather(1, ids).squeeze(1)
        q = q if certain is None else q.masked_fill(certain, 1.0)
    proposed = torch.arange(len(tokens), device=tokens.device) < count
    accepted = true_prefix(rng.accept(p, q) & proposed)
    # Where all were accepted, there is nothing to take away from the last row.
    refused = (accepted < count).to(p.dtype)
    place = accepted.clamp(max=len(tokens) - 1)
    row = target_probs.index_select(0, accepted)
    taken = torch.zeros_like(row)
    # Scalars go into `masked_fill`: `where` would copy them to the device, which the capture of a graph forbids.
    if draft_probs is None or certain is not None:
        taken = taken.scatter(1, ids.index_select(0, place), 1.0)
    if draft_probs is not None:
        known = F.pad(draft_probs.index_select(0, place), (0, row.shape[1] - draft_probs.shape[1]))
        taken = known if certain is None else known.masked_fill(certain, 0.0) + taken * certain
    left = (row - taken * refused).clamp_min(0.0)
    # Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
    return accepted, rng.draw(torch.where(left.sum() > 0, left, row))


def true_prefix(flags: torch.Tensor) -> torch.Tensor:
    """Return how many are true before the first that is not, shape (1,)."""
    return flags.long().cumprod(0).sum(0, keepdim=True)
