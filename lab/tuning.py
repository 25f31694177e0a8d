"""The policy to use: chosen on one half of the texts, judged on the other, and only if it makes a difference.

Besides the policies that were replayed, the best of them are tried with each of their numbers halved and doubled.
"""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Literal

import yaml

from paceline.core.errors import ConfigError, PacelineError
from paceline.lab.comparison import compare, plain_label, times_of
from paceline.lab.figures import Time, ratio
from paceline.lab.replay.choices import build
from paceline.lab.replay.passes import play_pass
from paceline.lab.stats import FEWEST, interval, times
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.figures import Times
    from paceline.lab.hindsight import Hindsight
    from paceline.lab.recording.model import Recording
    from paceline.lab.results import Measurement, Results
    from paceline.lab.stats import Ratio

DEFAULT = "auto"
"""The policy of a run that names none."""

VARIED = 3
"""Policies whose options are tried: the fastest on the tuning texts of those that adapt."""

LOOKUP = 3
"""The longest run of tokens that prompt lookup looks up where its block does not say otherwise."""

FACTORS = (0.5, 2.0)
"""Of the numbers among a policy's options, one at a time."""

WIDTH = 98
"""Columns of the remarks in a run file."""

Block = Mapping[str, Any]
"""The options of a policy, as JSON-able values."""

Why = Literal["faster", "noise", "plain"]
FASTER: Why = "faster"
NOISE: Why = "noise"
PLAIN: Why = "plain"
Try = Callable[[Mapping[str, Block], int], Mapping[str, tuple[Block, "Times"]]]
"""Plays variations of policies: from blocks by label, and a budget, to the block and the times of each variation."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy to use, and how it was chosen.

    Attributes:
        label, policy: The choice.
        why: "faster" than the simplest choice, on texts it was not chosen on; "noise" where the fastest one was not, or
            by less than replays are off, so that the simplest was taken; "plain" where nothing beats plain decoding.
        fastest: The fastest on the tuning texts.
        simplest: What is used unless something is faster: the default policy, or else the best static choice.
        gain: The fastest over the simplest, on the judging texts.
        speedup: The choice over plain decoding, on the judging texts; for plain decoding, the fastest other one.
        best_static: The static choice that is best on the tuning texts, of all drafts and gammas; `over_static` is the
            choice over it, on the judging texts; `static` is its block. None without a recording.
        tuning, judging: How many texts each half has.
        policies, variations: How many were compared.
        miss: By how much the replay misses what was measured, at most, as a share; None where nothing was measured.
    """

    label: str
    policy: Mapping[str, Any]
    why: Why
    fastest: str
    simplest: str
    gain: Ratio
    speedup: Ratio
    best_static: str | None
    over_static: Ratio | None
    tuning: int
    judging: int
    policies: int
    variations: int
    miss: float | None = None
    static: Mapping[str, Any] | None = None


def halves(measurements: Iterable[Measurement]) -> tuple[list[str], list[str]]:
    """Split texts into two halves that hold the same kinds; which goes where hangs on their names alone."""
    kinds: dict[str, list[str]] = {}
    for measurement in sorted(
        measurements, key=lambda measurement: hashlib.sha256(measurement.text.encode()).digest()
    ):
        kinds.setdefault(measurement.kind, []).append(measurement.text)
    parts: tuple[list[str], list[str]] = ([], [])
    for texts in kinds.values():
        for number, text in enumerate(texts):
            # A kind with an odd number of texts gives the one left over to the smaller half.
            last = number == len(texts) - 1 and number % 2 == 0
            parts[len(parts[0]) > len(parts[1]) if last else number % 2].append(text)
    return parts


def tune(
    results: Results,
    *,
    hindsight: Hindsight | None = None,
    vary: Try | None = None,
    tries: int = 0,
    miss: float | None = None,
) -> Choice:
    """Choose a policy among those replayed, and variations of the best of them.

    Args:
        results: The policies in one setting.
        hindsight: Of the recording, for the best static choice.
        vary: Plays variations of policies.
        tries: How many of them at most.
        miss: By how much the replay misses what was measured. Beyond `LARGEST_MISS`, no smaller gain is believed.

    Raises:
        ConfigError: There are too few texts, or no plain decoding to compare with.
    """
    comparison = compare(results)
    plain, first = comparison.plain, comparison.row(comparison.plain).first_pass
    tuning, judging = halves(first)
    if len(judging) < FEWEST:
        raise ConfigError(
            f"the replay has {len(first)} texts; choosing on one half and judging on the other takes at least "
            f"{2 * FEWEST}; record more, `paceline record --limit ...`"
        )
    blocks = {row.policy: row.options for row in comparison.rows}
    decoded = {row.policy: comparison.times[row.policy] for row in comparison.rows}

    def seconds(policy: str) -> float:
        return math.fsum(decoded[policy][text].seconds for text in tuning)

    def judged(policy: str, base: str) -> Ratio:
        speedup = ratio(decoded[policy], decoded[base], judging)
        assert speedup is not None, "rounds take time"
        return speedup

    adaptive = sorted((row.policy for row in comparison.rows if not row.static), key=seconds)
    varied = vary({policy: blocks[policy] for policy in adaptive[:VARIED]}, tries) if vary and tries else {}
    for policy, (block, taken) in varied.items():
        blocks[policy], decoded[policy] = block, taken
    best_static, static = None, None
    if hindsight is not None:
        best = hindsight.best_static([measurement.text for measurement in first], comparison.draws, on=tuning)
        best_static, static = best.label, best.options
        taken = {
            measurement.text: Time(measurement.tokens, best.seconds[measurement.text])
            for measurement in first
        }
        blocks, decoded = {best.label: best.options, **blocks}, {best.label: taken, **decoded}
    fastest = min(blocks, key=seconds)
    default = blocks.get(DEFAULT, {}).get("name") == DEFAULT
    simplest = DEFAULT if default else best_static or plain
    gain = judged(fastest, simplest)
    least = 1.0 + miss if miss is not None and miss > LARGEST_MISS else 1.0
    sure = fastest == simplest or (gain.low is not None and gain.low > 1.0 and gain.value > least)
    label, why = (fastest, FASTER) if sure else (simplest, NOISE)
    speedup = judged(label, plain)
    if plain in {fastest, label} or speedup.value <= 1.0:
        others = [policy for policy in blocks if policy != plain]
        label, why = plain, PLAIN
        speedup = judged(min(others, key=seconds, default=plain), plain)
    return Choice(
        label=label,
        policy=blocks[label],
        why=why,
        fastest=fastest,
        simplest=simplest,
        gain=gain,
        speedup=speedup,
        best_static=best_static,
        over_static=judged(label, best_static) if best_static not in {None, label} else None,
        tuning=len(tuning),
        judging=len(judging),
        policies=len(comparison.rows),
        variations=len(varied),
        miss=miss,
        static=static,
    )


def engine_flags(static: Block, drafts: Mapping[str, Block]) -> dict[str, str]:
    """Return by engine the options that come nearest to a static choice: those draft a fixed length. None for gamma 0.

    They are written as the engines' documentation has them, and none of the engines was asked: for llama.cpp
    https://github.com/ggml-org/llama.cpp, its page on speculative decoding (before `--spec-draft-n-max`, the length was
    `--draft-max`), for vLLM https://docs.vllm.ai and for SGLang https://docs.sglang.ai, where the last token counts.

    Args:
        static: Its block.
        drafts: The blocks of the run's drafts, by name, the first one being the default.
    """
    gamma = int(static.get("gamma", 0))
    if not gamma:
        return {}
    draft = drafts.get(static.get("draft") or next(iter(drafts), ""), {})
    kind = draft.get("backend")
    if kind in {"prompt-lookup", "suffix"}:
        longest = int(draft.get("max_ngram", LOOKUP))
        method = {"method": "ngram", "num_speculative_tokens": gamma, "prompt_lookup_max": longest}
        if kind == "suffix":
            method = {"method": "suffix", "num_speculative_tokens": gamma}
        return {
            "llama.cpp": f"--spec-type ngram-simple --spec-ngram-simple-size-n {longest} "
            f"--spec-ngram-simple-size-m {gamma}",
            "vLLM": f"--speculative-config '{json.dumps(method)}'",
            "SGLang": f"--speculative-algorithm NGRAM --speculative-num-draft-tokens {gamma + 1}",
        }
    model = str(draft.get("model", "DRAFT"))
    method = {"method": "draft_model", "model": model, "num_speculative_tokens": gamma}
    return {
        "llama.cpp": f"--spec-type draft-simple --model-draft {model} --spec-draft-n-max {gamma} "
        "--spec-draft-p-min 0",
        "vLLM": f"--speculative-config '{json.dumps(method)}'",
        "SGLang": f"--speculative-algorithm STANDALONE --speculative-draft-model-path {model} "
        f"--speculative-num-steps {gamma} --speculative-eagle-topk 1 --speculative-num-draft-tokens {gamma + 1}",
    }


def variations(policies: Mapping[str, Block], catalogue: Catalogue, *, most: int) -> dict[str, Block]:
    """Return up to `most` blocks by name, such as `online:window=20`; the policies take turns.

    Args:
        policies: By label, the best first.
        catalogue: The installed plugins.
        most: The budget.
    """
    each = [
        [(f"{label}:{key}={value}", block) for key, value, block in _changed(block, catalogue)]
        for label, block in policies.items()
    ]
    turns = (candidate for turn in zip_longest(*each) for candidate in turn if candidate is not None)
    return dict(islice(turns, most))


def _changed(block: Block, catalogue: Catalogue) -> Iterator[tuple[str, Any, Block]]:
    for path, value in _numbers(block):
        for factor in FACTORS:
            changed = round(value * factor) if isinstance(value, int) else value * factor
            if changed == value:
                continue
            other = _with(block, path, changed)
            try:
                build(other, catalogue)
            except PacelineError:
                continue  # out of the option's range
            yield ".".join(path), changed, other


def _numbers(block: Block, before: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], int | float]]:
    for key, value in block.items():
        path = (*before, key)
        if isinstance(value, Mapping):
            yield from _numbers(value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value


def _with(block: Block, path: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**block, first: _with(block[first], rest, value) if rest else value}


def paragraph(choice: Choice) -> str:
    """Return which policy to use, why, with which interval and against what."""
    split = (
        f"Chosen among {choice.policies} policies"
        + (f" and {choice.variations} of the best with other options" if choice.variations else "")
        + f" on {choice.tuning} texts, and judged on {choice.judging} others."
    )
    if choice.why == "plain":
        return (
            f"Decode plainly. On the judging texts the fastest policy is {_ratio(choice.speedup)} plain decoding, so "
            f"drafting does not pay here. {split} If texts will differ, the policy `gate` tries drafting now and then, "
            "at little cost."
        )
    if choice.why == "noise":
        small = choice.gain.low is not None and choice.gain.low > 1.0
        doubt = "less than what the replay is off by" if small else "which may be chance"
        reason = (
            f"On the tuning texts {choice.fastest} is fastest, but on the judging texts it is {_ratio(choice.gain)} "
            f"{choice.simplest}, {doubt}, so the simpler choice is better."
        )
    elif choice.fastest == choice.simplest:
        reason = "It is the fastest on the tuning texts, too."
    else:
        reason = f"It is {_ratio(choice.gain)} {choice.simplest}, the simplest choice."
    over = (
        f" and {_ratio(choice.over_static)} {choice.best_static}, the best static gamma of the tuning texts"
        if choice.over_static is not None
        else ""
    )
    unsure = (
        " These texts are too few to be sure that it is faster than plain decoding at all."
        if choice.speedup.low is not None and choice.speedup.low <= 1.0
        else ""
    )
    off = (
        f" Replay and measurement differ by up to {choice.miss:.0%}; try it on your machine before you rely on it."
        if choice.miss is not None and choice.miss > LARGEST_MISS
        else ""
    )
    return (
        f"Use {choice.label}. On texts it was not chosen on it is {_ratio(choice.speedup)} plain decoding{over}. "
        f"{reason}{unsure} {split}{off}"
    )


def _ratio(estimate: Ratio) -> str:
    between = interval(estimate)
    return f"{times(estimate)} ({between})" if between else times(estimate)


def run_file(choice: Choice, *, origin: str, base: Mapping[str, Any] | None = None) -> str:
    """Return the YAML of a run with the choice; `base` holds the other blocks of the run, such as its models."""
    remark = f"Written by `paceline tune` from {origin}. {paragraph(choice)}"
    return with_remark(remark, {**(base or {}), "policy": dict(choice.policy)})


def with_remark(remark: str, values: Mapping[str, Any]) -> str:
    """Return values as YAML under a remark."""
    lines = textwrap.wrap(remark, WIDTH, break_on_hyphens=False)
    body = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, default_flow_style=False)
    return "".join(f"# {line}\n" for line in lines) + body


def play_variations(
    recording: Recording,
    results: Results,
    policies: Mapping[str, Block],
    catalogue: Catalogue,
    *,
    most: int,
    on_played: Callable[[], None],
) -> dict[str, tuple[Block, Times]]:
    """Play up to `most` variations of policies over the texts of a setting, with its seeds.

    Args:
        recording: The texts.
        results: The setting.
        policies: By label, the best first.
        catalogue: The installed plugins.
        most: The budget.
        on_played: Called after each.
    """
    plain = plain_label(results)
    keys = [key for key in results.passes if key.policy == plain]
    texts = [measurement.text for measurement in results.passes[keys[0]]]
    played: dict[str, tuple[Block, Times]] = {}
    for label, block in variations(policies, catalogue, most=most).items():
        # Where it fails, what a policy with this option would need was not recorded.
        with suppress(PacelineError):
            measured = [
                measurement
                for key in keys
                for measurement in play_pass(recording, block, texts, key, catalogue=catalogue)
            ]
            played[label] = block, times_of(measured)
        on_played()
    return played
