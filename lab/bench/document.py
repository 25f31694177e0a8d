"""The bench as one JSON document: everything that is needed to judge it later, or to compute it anew."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paceline.lab.bench.machine import describe, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.lab.bench.choices import Choice
    from paceline.lab.bench.records import Prompt, Run
    from paceline.lab.bench.summary import Result

VERSION = 1


def document(
    result: Result,
    runs: Sequence[Run],
    *,
    config: RunConfig,
    choice: Choice,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    failed: Mapping[str, str],
    interrupted: bool,
) -> dict[str, Any]:
    """Return a finished or interrupted bench as JSON-able values.

    Tokens of outputs are left out except for their number: with identical outputs they say nothing, and where
    outputs differ `different` says where.
    """
    return {
        "kind": "bench",
        "version": VERSION,
        "interrupted": interrupted,
        "versions": versions(),
        "machine": describe(),
        "config": config.model_dump(mode="json"),
        "policies": choice.policies,
        "settings": dict(settings),
        "modes": [asdict(one) for one in result.summaries],
        "best_static": result.best_static,
        "best_static_speedup": next(
            (
                asdict(one.speedup)
                for one in result.summaries
                if one.mode == result.best_static and one.speedup
            ),
            None,
        ),
        "over_best_static": {mode: asdict(ratio) for mode, ratio in result.over_best_static.items()},
        "first_backend": choice.first_backend,
        "over_first_backend": {mode: asdict(ratio) for mode, ratio in result.over_twin.items()},
        "reference": result.reference,
        "compared": result.compared,
        "different": [asdict(one) for one in result.different],
        "failed": dict(failed),
        "left_out": choice.left_out,
        "prompts": [_prompt(one, result) for one in prompts],
        "runs": [{**asdict(run), "tokens": len(run.tokens)} for run in runs],
    }


def _prompt(prompt: Prompt, result: Result) -> dict[str, Any]:
    """Return what is known of a prompt; whether its text loops is null where plain decoding did not get to it."""
    text = result.textures.get(prompt.name)
    return {
        "name": prompt.name,
        "kind": prompt.kind,
        "prompt_tokens": len(prompt.tokens),
        "loops": text.loops if text else None,
        "repeats": text.repeats if text else None,
    }
