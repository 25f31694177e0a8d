"""Records a whole workload: each text is recorded, its rounds timed and checked, and policies measured on it.

Everything is done text by text, so that a machine that drifts does so for all of it alike, and an interruption costs
the text under way only.
"""

from __future__ import annotations

import dataclasses
import gc
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from paceline.core.errors import BackendError, CapabilityError, TraceError
from paceline.core.trace import prompt_sha256
from paceline.lab.decoding import decode
from paceline.lab.recording.batch_sweep import require_shared_passes, time_batches
from paceline.lab.recording.latency import LatencyProfile
from paceline.lab.recording.latency_fit import Timing
from paceline.lab.recording.model import Header, Measured
from paceline.lab.recording.recorder import Recorder
from paceline.lab.recording.resume import REMEDY, Kept, kept, trim
from paceline.lab.recording.timing_sweep import TimingSweep, spread_over
from paceline.lab.recording.writer import RecordingWriter
from paceline.lab.short_names import plain_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.models import Models
    from paceline.lab.recording.timing_sweep import Checks
    from paceline.lab.workloads.prompts import Prompt

POLICIES = ("static-1", "static-3", "static-5", "survival:max_nodes=0", "auto:max_nodes=0")
"""Measured where nobody says which: gammas spread over those that pay, and two policies that learn, with chains alone,
since trees cannot be replayed where no further choices are recorded."""


@dataclass(frozen=True, slots=True)
class ReferenceRuns:
    """The policies measured, each of which goes on learning from text to text.

    Attributes:
        decoders: By name.
        blocks: The policies as JSON-able values, by name.
        left_out: Those that do not fit target and drafts, with the reason.
    """

    decoders: Mapping[str, SpeculativeDecoder]
    blocks: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str]

    def text(self, prompt: Prompt, max_new_tokens: int, *, part: int) -> tuple[list[Measured], list[Timing]]:
        """Decode a prompt under each policy, in an order drawn for it; return the passes, and their rounds' times."""
        names = list(self.decoders)
        Random(prompt.name).shuffle(names)
        runs: list[Measured] = []
        timings: list[Timing] = []
        for name in names:
            # Garbage of the policy before must not be collected on this one's time.
            gc.collect()
            done = decode(
                self.decoders[name],
                prompt.tokens,
                max_new_tokens,
                on_round=lambda done: timings.append(Timing.of(done)),
            )
            totals = done.totals
            runs.append(
                Measured(self.blocks[name], prompt.name, totals.emitted, totals.rounds, totals.seconds, part)
            )
        return runs, timings


def reference_runs(models: Models, policies: Mapping[str, PolicyConfig]) -> ReferenceRuns:
    """Return what measures these policies; those that do not fit are left out."""
    decoders: dict[str, SpeculativeDecoder] = {}
    left_out: dict[str, str] = {}
    for name, config in policies.items():
        try:
            decoders[name] = models.under(config)
        except CapabilityError as error:
            left_out[name] = str(error)
    blocks = {name: config.model_dump(mode="json") for name, config in policies.items() if name in decoders}
    return ReferenceRuns(decoders, blocks, left_out)


MEASURED = 20
"""Texts that policies are measured on, spread over all of them."""

WARM_UP_TOKENS = 32

UNKNOWN = LatencyProfile({1: 0.0}, 0, 0.0, {}, 0.0)
"""Stands in the header until something was measured; never written."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of taking a recording.

    Attributes:
        longest: The most tokens a draft is asked for.
        signals, keep_prompts, choices: As of `Recorder`.
        policies: What is measured, by name.
        batches: Numbers of requests that share passes, which are timed as well.
    """

    longest: int = 16
    signals: bool = True
    keep_prompts: bool = False
    choices: int = 0
    policies: Mapping[str, PolicyConfig] = field(default_factory=dict)
    batches: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """Result of taking a recording.

    Attributes:
        texts: In the file, those of earlier runs included.
        before: Of those, how many were there before.
        costs: The latency profile.
        checks: How real rounds compared.
        left_out: Policies that were not measured, with the reason.
    """

    texts: int
    before: int
    costs: LatencyProfile
    checks: Checks
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work that comes next.

    Attributes:
        what: "warming up", "recording", "timing", "measuring" or "timing batches".
        text: The name of the text; "" while warming up.
        texts: How many are asked for.
        done: Of those, how many are in the file; `before` of them since an earlier run.
        tokens: Of the texts that this run finished.
    """

    what: str
    text: str
    texts: int
    done: int = 0
    before: int = 0
    tokens: int = 0


def _ignore(_step: Step) -> None:
    pass


def record_run(
    models: Models,
    catalogue: Catalogue,
    prompts: Sequence[Prompt],
    path: Path,
    *,
    settings: Settings,
    run: Mapping[str, Any],
    replace: bool = False,
    on_step: Callable[[Step], None] = _ignore,
) -> RecordedRun:
    """Record all prompts that a file does not hold yet.

    Whether an earlier run was interrupted, or was given fewer prompts, makes no difference.

    Args:
        models: Target, drafts, and how tokens are chosen.
        catalogue: The installed plugins.
        prompts: What to record; names differ.
        path: The file.
        settings: How.
        run: What ran, for the first line; where it is the same, the recording that is there goes on.
        replace: Whether to begin anew whatever is there.
        on_step: Told of each piece of work before it begins.

    Raises:
        TraceError: The file is of another run, cannot be written, or real rounds did not do what was recorded.
        BackendError: A draft cannot be recorded, or a prompt does not fit the target.
    """
    sampling, max_new_tokens = models.config.generation.sampling(), models.config.generation.max_new_tokens
    recorder = Recorder(
        plain=plain_decoder(models, catalogue),
        drafts=models.drafts,
        sampling=sampling,
        longest=settings.longest,
        signals=settings.signals,
        keep_prompts=settings.keep_prompts,
        choices=settings.choices,
    )
    _check_room(models, prompts)
    if settings.batches:
        require_shared_passes(models)
    on_step(Step("warming up", "", len(prompts)))
    header = Header(
        run=run,
        longest=settings.longest,
        mode="greedy" if sampling.greedy else "sampled",
        drafts=recorder.info(prompts[0].tokens),
        costs=UNKNOWN,
    )
    before = Kept() if replace else kept(path, header)
    _check_prompts(path, before, prompts)
    names = [prompt.name for prompt in prompts]
    sweeper = TimingSweep(
        models, settings.longest, names, use_signals=settings.signals, timings=before.timings
    )
    measures, chosen = reference_runs(models, settings.policies), spread_over(names, MEASURED)
    for decoder in (sweeper.decoder, *measures.decoders.values()):
        decode(decoder, prompts[0].tokens, min(max_new_tokens, WARM_UP_TOKENS))
    if before.prompts:
        trim(path, before.last)
    left = [prompt for prompt in prompts if prompt.name not in before.prompts]
    earlier, tokens = len(prompts) - len(left), 0
    with _settled(), RecordingWriter(path, header, after=len(before.prompts)) as writer:
        for number, prompt in enumerate(left):
            step = Step("recording", prompt.name, len(prompts), earlier + number, earlier, tokens)
            on_step(step)
            text = recorder.text(prompt, max_new_tokens)
            on_step(dataclasses.replace(step, what="timing"))
            timings = sweeper.text(text, prompt)
            if prompt is left[-1]:
                timings += sweeper.complete(text, prompt)
            measured: list[Measured] = []
            if prompt.name in chosen:
                on_step(dataclasses.replace(step, what="measuring"))
                measured, further = measures.text(prompt, max_new_tokens, part=before.part)
                sweeper.add(further)
                timings += further
            line = sweeper.line(prompt.name, timings)
            costs = sweeper.costs() if timings else None  # else they are what they were
            writer.text(text, costs=costs, measured=measured, extra=[line])
            sweeper.checks.refuse()
            tokens += len(text.tokens)
        costs = sweeper.costs()
        if costs is None:
            raise TraceError(
                f"{path}: too few rounds to tell what they take; give more prompts, or more tokens (-n)"
            )
        if settings.batches:
            on_step(Step("timing batches", "", len(prompts), len(prompts), earlier, tokens))
            shared = time_batches(models, prompts, settings.batches, costs, settings.longest)
            costs = dataclasses.replace(costs, batches=shared)
        writer.end(costs=costs, extra=sweeper.checks.to_json())
    texts = len(before.prompts) + len(left)
    return RecordedRun(texts, len(before.prompts), costs, sweeper.checks, measures.left_out)


@contextmanager
def _settled() -> Iterator[None]:
    """Leave what is there already out of garbage collection, which is asked for before everything that is timed."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _check_room(models: Models, prompts: Sequence[Prompt]) -> None:
    """Refuse a prompt that leaves no room for a text, before hours went into those before it."""
    longest = models.target.max_context
    for prompt in prompts:
        if longest is not None and len(prompt.tokens) >= longest:
            raise BackendError(
                f"the prompt {prompt.name!r} has {len(prompt.tokens)} tokens and the target's context ends at "
                f"{longest}; shorten it, or leave it out"
            )


def _check_prompts(path: Path, before: Kept, prompts: Sequence[Prompt]) -> None:
    """Refuse to go on where a prompt is another one now."""
    for prompt in prompts:
        known = before.prompts.get(prompt.name)
        if known is not None and known != prompt_sha256(prompt.tokens):
            raise TraceError(
                f"{path}: the prompt {prompt.name!r} was another text when it was recorded; {REMEDY}"
            )
