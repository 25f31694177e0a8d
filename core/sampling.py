"""Sampling and the other options of a request, and the sessions that choose their tokens so."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from paceline.core.errors import CapabilityError, describe
from paceline.core.optional_protocols import SampledDraft, SampledTarget
from paceline.core.processors import DraftProcessor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.processors import LogitsProcessor
    from paceline.core.protocols import Draft, DraftSession, Target, TargetSession
    from paceline.core.stopping import Stop

MIN_TEMPERATURE = 1e-3
"""Colder is greedy to any reader; logits divided by much less leave the range of float32."""


def _require(held: bool, name: str, allowed: str, value: object) -> None:
    if not held:
        raise ValueError(f"{name} must be {allowed}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings by which the tokens of one request are chosen. What is None or neutral is not applied.

    The order is that of transformers: repetition penalty, processors, temperature, top-k, top-p, min-p, typical-p.
    Target and draft apply the same to their own logits, each position after the tokens before it.

    Attributes:
        temperature: Logits are divided by it. 0.0 is greedy: the likeliest token once penalty and processors are
            applied.
        top_k: Only the k likeliest tokens.
        top_p: The likeliest tokens until their probabilities add up to this (Holtzman et al. 2019, arXiv 1904.09751).
        min_p: Only tokens at least this likely relative to the likeliest one (Nguyen et al. 2024, arXiv 2407.01082).
        typical_p: The tokens whose information is nearest to the entropy, until their probabilities add up to this
            (Meister et al. 2022, arXiv 2202.00666).
        repetition_penalty: Logits of tokens that stand in the context are divided by it where positive and multiplied
            where negative (Keskar et al. 2019, arXiv 1909.05858); 1.0 changes nothing.
        seed: Of everything drawn in the request. The same seed and the same plans give the same text.
        processors: Changes of the logits of each token, such as `LogitBias` and `AllowedTokens`, in this order. They
            must be pure functions; see `LogitsProcessor`.

    Raises:
        ValueError: A value is out of its range, or is given with temperature 0.0, where it would do nothing.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    processors: tuple[LogitsProcessor, ...] = ()

    def __post_init__(self) -> None:
        colder = f"0.0 (greedy), or {MIN_TEMPERATURE} and more"
        hot = math.isfinite(self.temperature) and self.temperature >= MIN_TEMPERATURE
        _require(self.temperature == 0.0 or hot, "temperature", colder, self.temperature)
        _require(self.top_k is None or self.top_k >= 1, "top_k", "at least 1", self.top_k)
        _require(self.top_p is None or 0.0 < self.top_p <= 1.0, "top_p", "in (0, 1]", self.top_p)
        _require(self.min_p is None or 0.0 <= self.min_p <= 1.0, "min_p", "in [0, 1]", self.min_p)
        typical = self.typical_p
        _require(typical is None or 0.0 < typical < 1.0, "typical_p", "in (0, 1)", typical)
        penalty = self.repetition_penalty
        _require(math.isfinite(penalty) and penalty > 0.0, "repetition_penalty", "above 0", penalty)
        processors: object = self.processors
        functions = isinstance(processors, Sequence) and all(map(callable, processors))
        _require(functions, "processors", "a tuple of functions", processors)
        if self.greedy:
            for name in ("top_k", "top_p", "min_p", "typical_p"):
                value = getattr(self, name)
                _require(value is None, name, "left out at temperature 0.0, which is greedy", value)

    @property
    def greedy(self) -> bool:
        """True if nothing is drawn: each token is the likeliest one."""
        return self.temperature == 0.0

    @property
    def plain(self) -> bool:
        """True if this is plain greedy decoding, which every target can do."""
        return self.greedy and self.repetition_penalty == 1.0 and not self.processors

    def of(self, role: str) -> Sampling:
        """Return the same settings with the seed of one role.

        No two roles may draw the same numbers: a draft whose draws are known from the target's, or from those that
        another draft made before, is no longer distributed as it says, and the text would not be either.
        """
        digest = hashlib.blake2b(f"{self.seed}/{role}".encode(), digest_size=8).digest()
        return replace(self, seed=int.from_bytes(digest) >> 1)


GREEDY = Sampling(temperature=0.0)
"""Plain greedy decoding."""


class RequestOptions(TypedDict, total=False):
    """Options of one request. What is left out, or None, is as the decoder's own settings say.

    Attributes:
        max_new_tokens: The most tokens to deliver; less when the target's context is shorter.
        stop: Strings, and functions that are shown the output after each token. The text ends with the token that
            completes a string, or for which a function returns True.
        sampling: How tokens are chosen.
    """

    max_new_tokens: int | None
    stop: Stop | None
    sampling: Sampling | None


def check_options(names: Iterable[str]) -> None:
    """Refuse options that no request has, where they are taken long before they are used.

    Raises:
        TypeError: Names one, and those that there are.
    """
    known = RequestOptions.__annotations__
    for name in names:
        if name not in known:
            raise TypeError(f"{name!r} is no option of a request; there are {', '.join(known)}")


def check_sampling(target: Target, sampling: Sampling) -> None:
    """Refuse to sample, or to process logits, with a target that cannot.

    Raises:
        CapabilityError: The target only decodes greedily, or applies no processors.
    """
    if sampling.plain:
        return
    if not (target.capabilities.sampling and isinstance(target, SampledTarget)):
        raise CapabilityError(
            f"target {describe(target)} cannot sample; leave sampling out, or use temperature 0.0 without "
            "repetition_penalty and processors"
        )
    if sampling.processors and not target.capabilities.processors:
        raise CapabilityError(
            f"target {describe(target)} applies no logits processors; leave them out, or use an engine that does, such "
            "as `backend: hf`"
        )


def open_target(target: Target, prompt: Sequence[int], sampling: Sampling) -> TargetSession:
    """Open a session of the target."""
    if sampling.plain:
        return target.open(prompt)
    assert isinstance(target, SampledTarget)  # as checked before
    return target.open_sampled(prompt, sampling.of("target"))


def open_draft(name: str, draft: Draft, prompt: Sequence[int], sampling: Sampling) -> DraftSession:
    """Open a session of a draft; one that cannot sample proposes as it always does, and its tokens count as certain."""
    if sampling.plain or not isinstance(draft, SampledDraft):
        return draft.open(prompt)
    own = sampling.of(f"draft {name}")
    return draft.open_sampled(
        prompt, replace(own, processors=tuple(DraftProcessor(each) for each in own.processors))
    )
