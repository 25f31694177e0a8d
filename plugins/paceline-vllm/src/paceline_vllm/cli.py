"""`paceline-vllm`: start vLLM's OpenAI server with a policy, or time what a policy adds to a step."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paceline import ConfigError, PacelineError, load_config
from paceline.serving import check_port
from paceline_vllm.admission import HOSTS
from paceline_vllm.compatibility import DEFAULT_MAX_GAMMA, build_policy, num_speculative_tokens
from paceline_vllm.options import EngineOptions
from paceline_vllm.overhead import overhead_s
from paceline_vllm.server_process import run_server

SERVER = "vllm.entrypoints.openai.api_server"
"""By module: the console script `vllm` looks for a distribution of that name, which some builds do not have."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 wrong usage."""
    options, unknown = _parser().parse_known_args(arguments)
    rest = [word for word in unknown if word != "--"]
    try:
        if options.command == "overhead":
            _overhead(options, rest)
        else:
            _serve(options, rest)
    except PacelineError as error:
        sys.stderr.write(f"paceline-vllm: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _serve(options: argparse.Namespace, rest: Sequence[str]) -> None:
    command = server_command(options, rest)
    added = {HOSTS: ",".join([options.host, *options.allowed_host])}
    if options.show:
        print(*(f"{name}={shlex.quote(value)}" for name, value in added.items()), shlex.join(command))  # noqa: T201
        return
    if "--uds" not in rest:  # which listens on no port
        check_port(options.host, options.port)
    run_server(command, os.environ | added)


def server_command(options: argparse.Namespace, rest: Sequence[str] = ()) -> list[str]:
    """Return the command line that starts vLLM's server.

    Raises:
        ConfigError: The policy or the run file is wrong; found now, not when the models are loaded.
        CapabilityError: vLLM cannot do what the policy needs.
    """
    for model in (options.model, options.draft):
        if (
            model is not None
            and model.startswith(("/", "./", "../", "~"))
            and not Path(model).expanduser().is_dir()
        ):
            raise ConfigError(f"{model}: there is no such folder")
    block: dict[str, Any] = {}
    if options.config is not None:
        block["config"] = str(Path(options.config).absolute())
    else:
        block["policy"] = _policy(options.policy)
    engine = EngineOptions.model_validate(block)
    run = engine.run()
    max_gamma = num_speculative_tokens(run, options.max_gamma)
    build_policy(engine, run, max_gamma, 2 if options.asynchronous else 1)
    drafting: dict[str, Any] = {"num_speculative_tokens": max_gamma}
    if options.draft is None:
        drafting |= {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    else:
        drafting |= {"method": "draft_model", "model": options.draft}
    drafting["num_speculative_tokens_per_batch_size"] = [[1, options.max_num_seqs, max_gamma]]
    scheduler = "PolicyAsyncScheduler" if options.asynchronous else "PolicyScheduler"
    flags = {
        "--model": options.model,
        "--host": options.host,
        "--port": options.port,
        "--shutdown-timeout": options.grace,
        "--middleware": "paceline_vllm.admission.Admission",
        "--max-num-seqs": options.max_num_seqs,
        "--speculative-config": json.dumps(drafting),
        "--scheduler-cls": f"paceline_vllm.{scheduler}",
        "--additional-config": json.dumps({"paceline": block}),
    }
    words = [word for name, value in flags.items() for word in (name, str(value))]
    return [sys.executable, "-m", SERVER, *words, *rest]


def _policy(text: str) -> Any:
    """Return a policy's block from its name, or from JSON."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--policy takes a name, or a block as JSON; found {text!r}: {error}") from error


def _overhead(options: argparse.Namespace, rest: Sequence[str]) -> None:
    if rest:
        raise ConfigError(f"there is no option {rest[0]!r}; try paceline-vllm overhead --help")
    for name in options.policies.split(","):
        policy = load_config({"policy": _policy(name)}).policy
        seconds = overhead_s(
            policy, requests=options.requests, rounds_per_step=options.rounds_per_step or None
        )
        print(f"{name:<12} {seconds * 1e6:6.1f} us a step of {options.requests} requests")  # noqa: T201


def _int_between(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a whole number within bounds."""
    allowed = f"a whole number, at least {least}" + ("" if most is None else f" and at most {most}")

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"expected {allowed}, found {text!r}")
        return number

    return read


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
        "--max-gamma",
        type=_int_between(1),
        help=f"the most tokens drafted in a step (as many as the policy asks for, or {DEFAULT_MAX_GAMMA})",
    )
    serve.add_argument(
        "--max-num-seqs", type=_int_between(1), default=64, help="requests decoded together (%(default)s)"
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="where to listen (%(default)s, not vLLM's 0.0.0.0)"
    )
    serve.add_argument(
        "--port", type=_int_between(1, 65535), default=8000, help="where to listen (%(default)s)"
    )
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        help="a name that clients may call the server by, such as a proxy's; may be given several times",
    )
    serve.add_argument(
        "--grace",
        type=_int_between(0),
        default=30,
        help="seconds for what is under way when the server is told to end (%(default)s)",
    )
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
    timing.add_argument(
        "--requests", type=_int_between(1), default=32, help="requests in a step (%(default)s)"
    )
    timing.add_argument(
        "--rounds-per-step",
        type=_int_between(0),
        default=4,
        help="rounds shown of each; 0 is all (%(default)s)",
    )
    return parser
