"""`paceline-vllm`: start vLLM's OpenAI server with a policy, or time what a policy adds to a step."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline import ConfigError, PacelineError, load_config
from paceline_vllm.options import EngineOptions
from paceline_vllm.overhead import overhead_s

SERVER = "vllm.entrypoints.openai.api_server"
"""By module: the console script `vllm` looks for a distribution of that name, which some builds do not have."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = _parser().parse_known_args(arguments)
    options: argparse.Namespace = given[0]
    rest = [one for one in given[1] if one != "--"]
    try:
        if options.command == "overhead":
            _overhead(options, rest)
            return
        command = server_command(options, rest)
    except PacelineError as error:
        sys.exit(f"paceline-vllm: {error}")
    if options.show:
        print(" ".join(map(_quoted, command)))  # noqa: T201 - it was asked for
        return
    os.execv(command[0], command)  # noqa: S606 - the server takes the place of this process, and its signals


def server_command(options: argparse.Namespace, rest: Sequence[str] = ()) -> list[str]:
    """Return the command line that starts vLLM's server.

    Raises:
        ConfigError: The policy or the run file is wrong; found now, not when the models are loaded.
    """
    block: dict[str, Any] = {}
    if options.config is not None:
        block["config"] = str(Path(options.config).absolute())
    else:
        block["policy"] = _policy(options.policy)
    EngineOptions.model_validate(block).run()
    drafting: dict[str, Any] = {"num_speculative_tokens": options.max_gamma}
    if options.draft is None:
        drafting |= {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    else:
        drafting |= {"method": "draft_model", "model": options.draft}
    drafting["num_speculative_tokens_per_batch_size"] = [[1, options.max_num_seqs, options.max_gamma]]
    scheduler = "PolicyAsyncScheduler" if options.asynchronous else "PolicyScheduler"
    return [
        sys.executable,
        "-m",
        SERVER,
        "--model",
        options.model,
        "--max-num-seqs",
        str(options.max_num_seqs),
        "--speculative-config",
        json.dumps(drafting),
        "--scheduler-cls",
        f"paceline_vllm.{scheduler}",
        "--additional-config",
        json.dumps({"paceline": block}),
        *rest,
    ]


def _policy(text: str) -> Any:
    """Return a policy's block from its name, or from JSON."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--policy takes a name, or a block as JSON; found {text!r}: {error}") from error


def _quoted(word: str) -> str:
    return f"'{word}'" if any(sign in word for sign in ' {}[]"') else word


def _overhead(options: argparse.Namespace, rest: Sequence[str]) -> None:
    if rest:
        raise ConfigError(f"there is no option {rest[0]!r}; try paceline-vllm overhead --help")
    for name in options.policies.split(","):
        policy = load_config({"policy": _policy(name)}).policy
        seconds = overhead_s(
            policy, requests=options.requests, rounds_per_step=options.rounds_per_step or None
        )
        print(f"{name:<12} {seconds * 1e6:6.1f} us a step of {options.requests} requests")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paceline-vllm", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="start vLLM's OpenAI server with a policy",
        epilog="Every other option is passed to vLLM's server.",
        allow_abbrev=False,
    )
    serve.add_argument("model", help="the target: a folder or a model's name")
    serve.add_argument(
        "--draft", help="the draft: a folder or a model's name; n-grams of the prompt if left out"
    )
    serve.add_argument(
        "--max-gamma", type=int, default=4, help="the most tokens drafted in a step (%(default)s)"
    )
    serve.add_argument("--max-num-seqs", type=int, default=64, help="requests decoded together (%(default)s)")
    which = serve.add_mutually_exclusive_group()
    which.add_argument(
        "--policy", default="online", help="a policy's name, or its block as JSON (%(default)s)"
    )
    which.add_argument("--config", help="a run file, for its policy, seed and trace")
    serve.add_argument(
        "--asynchronous",
        action="store_true",
        help="schedule a step before the last one is over, where vLLM can",
    )
    serve.add_argument("--show", action="store_true", help="print the command instead of running it")
    timing = commands.add_parser("overhead", help="time what a policy adds to a step", allow_abbrev=False)
    timing.add_argument("--policies", default="static,online,survival,auto", help="names (%(default)s)")
    timing.add_argument("--requests", type=int, default=32, help="requests in a step (%(default)s)")
    timing.add_argument(
        "--rounds-per-step", type=int, default=4, help="rounds shown of each; 0 is all (%(default)s)"
    )
    return parser
