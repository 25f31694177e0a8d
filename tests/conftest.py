"""Fixtures of several folders: a pair of models so small that every text is counted out, and the command line."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.cli import app
from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.rejection_sampling import probs_of, process_logits
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import FixedCosts, ScriptedPolicy
from paceline.core.testing.enumeration import outcomes

# The same examples in every run, so that a change is judged by what it changed; `make explore` looks for new ones.
settings.load_profile("ci")

# Each of the two processes of the suite has one core: more threads of torch would wait for each other. torch is not
# imported yet.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class GreedyOnly:
    """A draft that knows nothing of sampling."""

    def __init__(self, draft: ToyDraft) -> None:
        self._draft = draft
        self.signals = draft.signals

    def open(self, prompt: Sequence[int]) -> Any:
        return self._draft.open(prompt)


def drawing(target: ToyTarget) -> ToyDraft:
    return ToyDraft(target, agreement=0.6)


def greedy(target: ToyTarget) -> GreedyOnly:
    return GreedyOnly(ToyDraft(target, agreement=0.5))


Texts = dict[tuple[int, ...], float]
"""The probability of each text."""


class TinyPair:
    """A target with three tokens, of which one ends the text, and two drafts."""

    target = ToyTarget(seed=1, eos_share=0.3, vocabulary=3)
    prompt = (1, 2)
    sampling = Sampling(temperature=1.3)
    drawing = staticmethod(drawing)
    greedy = staticmethod(greedy)

    def alone(self, length: int, sampling: Sampling | None = None) -> Texts:
        """Return the distribution of the target's first tokens, without any draft or loop."""
        found: Texts = {}
        settings = sampling or self.sampling

        def extend(text: tuple[int, ...], probability: float) -> None:
            written = text[len(self.prompt) :]
            if len(written) == length or 0 in written:
                found[written] = probability
                return
            shares = probs_of(process_logits(self.target.scores(text), settings, text), settings)
            for token, share in enumerate(shares):
                if share:
                    extend((*text, token), probability * share)

        extend(self.prompt, 1.0)
        return found

    def decoded(
        self,
        policy: Callable[[], Any],
        length: int,
        *,
        drafts: Mapping[str, Callable[[ToyTarget], Any]] | None = None,
        sampling: Sampling | None = None,
    ) -> Texts:
        """Return the distribution of what the loop delivers, each way replayed from scratch by a fresh policy."""
        makers = drafts or {"drawing": drawing, "greedy": greedy}

        def run(rng: Any) -> tuple[int, ...]:
            target = replace(self.target, rng=lambda seed: rng)
            decoder = SpeculativeDecoder(
                target,
                {name: make(target) for name, make in makers.items()},
                policy(),
                clock=CostTableClock(FixedCosts(1.0, 10.0)),
                sampling=sampling or self.sampling,
            )
            return decoder.generate(self.prompt, max_new_tokens=length).tokens

        return outcomes(run)

    def scripted(self, plans: Sequence[Any], length: int, **options: Any) -> Texts:
        """Return the distribution of what the loop delivers under scripted plans."""
        return self.decoded(lambda: ScriptedPolicy(plans), length, **options)


def distance(one: Texts, other: Texts) -> float:
    """Return the largest difference of a probability."""
    return max(abs(one.get(text, 0.0) - other.get(text, 0.0)) for text in one.keys() | other.keys())


@pytest.fixture(autouse=True)
def logs_as_nobody_configured_them():
    """A command that ran in this process before has configured where logs go."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def tiny_pair() -> TinyPair:
    return TinyPair()


@pytest.fixture(scope="session")
def apart() -> Callable[[Texts, Texts], float]:
    return distance


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Return what runs the command line in this process, in a folder for what it leaves.

    Logging is put back, since the command configures it.
    """
    monkeypatch.chdir(tmp_path)
    yield lambda *arguments: app.run([str(argument) for argument in arguments])
    structlog.reset_defaults()
