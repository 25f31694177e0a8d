"""`paceline generate`: text as it is decoded, and how fast that went."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli import report
from paceline.cli.interrupts import exit_code
from paceline.cli.live import Screen
from paceline.cli.options import (
    ConfigOption,
    JsonOption,
    MaxOption,
    SeedOption,
    SetOption,
    StopOption,
    TemperatureOption,
    TopPOption,
    read_config,
)
from paceline.cli.prompting import find_prompt
from paceline.core.errors import BackendError, PacelineError
from paceline.lab.prompts import embedded

if TYPE_CHECKING:
    from paceline.core.config.run import RunConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round
    from paceline.lab.compare import Comparison
    from paceline.lab.decoding import Decoding
    from paceline.lab.parts import Parts

DEMO_TOKENS = 160
DEMO_PROMPT = "code-3"
"""A prompt on which the embedded target writes varied text for a while before it repeats itself."""


def generate(
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="The text to go on with; - reads it from stdin.")
    ] = None,
    *,
    config: ConfigOption = None,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Use this policy.")] = None,
    changes: SetOption = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", "-f", help="Read the prompt from a file; - is stdin.")
    ] = None,
    max_new_tokens: MaxOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    stop: StopOption = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write every round to this file.")] = None,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Time plain decoding as well, in turns; on with --demo."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Show the embedded pair at work.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The text and errors, nothing else.")] = False,
    seed: SeedOption = None,
) -> None:
    """Write text: stdout gets the text, stderr everything else.

    With no PROMPT, the text on stdin is taken; on a terminal, a prompt that comes with paceline.
    """
    text: str
    name: str | None
    if demo and prompt is None and prompt_file is None:
        listed = embedded()
        first = next((one for one in listed if one.name == DEMO_PROMPT), listed[0])
        text, name = first.text, first.name
    else:
        text, name = find_prompt(prompt, prompt_file)
    if demo and max_new_tokens is None and config is None:
        max_new_tokens = DEMO_TOKENS
    run = read_config(
        config,
        changes,
        policy=policy,
        generation__max_new_tokens=max_new_tokens,
        generation__temperature=temperature,
        generation__top_p=top_p,
        generation__seed=seed,
        generation__stop=stop or None,
        trace=None if trace is None else str(trace),
    )
    screen = Screen(sys.stdout, sys.stderr, live=not (quiet or as_json))
    if name is not None and not quiet and not demo:
        screen.note(f"no prompt given; going on with the embedded prompt {name!r}")
    if demo and not quiet:
        _introduce(run, text, screen)
    screen.line("loading")
    job = _Job(run, screen, demo=demo, as_json=as_json, quiet=quiet)
    raise typer.Exit(job.work(text, comparing=demo if compare is None else compare))


def _introduce(run: RunConfig, prompt: str, screen: Screen) -> None:
    drafts = ", ".join(f"{name} ({draft.backend})" for name, draft in run.drafts.items())
    screen.note(f"target {run.target.backend}, draft {drafts}, policy {run.policy.name}")
    screen.note(f"prompt:\n{prompt}\n\ntext:")


@dataclass(slots=True)
class _Job:
    """One call of the command, its configuration read."""

    run: RunConfig
    screen: Screen
    demo: bool
    as_json: bool
    quiet: bool

    def work(self, prompt: str, *, comparing: bool) -> int:
        """Decode, report, and return the exit code."""
        # The loop and the models are loaded only now, so that a wrong option is told at once.
        from paceline.core.trace import TraceWriter  # noqa: PLC0415
        from paceline.lab.parts import load_parts  # noqa: PLC0415

        stopped: KeyboardInterrupt | None = None
        try:
            parts = load_parts(self.run)
            path, about = self.run.trace, {"config": self.run.model_dump(mode="json")}
            trace = None if path is None else TraceWriter(path, about)
            # Leaving the decoder, however that comes about, closes the trace and saves what the policy learnt.
            with parts.decoder(trace=trace) as decoder:
                return self._decode(parts, decoder, prompt, comparing=comparing)
        except KeyboardInterrupt as stop:
            stopped = stop
        finally:
            self.screen.close()
        return exit_code(stopped)

    def _decode(self, parts: Parts, decoder: SpeculativeDecoder, prompt: str, *, comparing: bool) -> int:
        from paceline.core.text import TextStream  # noqa: PLC0415
        from paceline.lab.decoding import Decoding, decode  # noqa: PLC0415

        codec = decoder.target.codec
        if codec is None:
            raise BackendError(
                "this target has no tokenizer, so it cannot go on with a text; use paceline in Python"
            )
        tokens = decoder.encode(prompt)
        stream, pieces, decoding = TextStream(codec), list[str](), Decoding()

        def write(piece: str) -> None:
            pieces.append(piece)
            if not self.as_json:
                self.screen.text(piece)

        def show(done: Round) -> None:
            write(stream.push(done.tokens))
            self.screen.line(report.live_line(decoding, done, decoder.costs))

        def conclude(comparison: Comparison | None = None) -> None:
            if self.as_json:
                text = "".join(pieces)
                values = report.document(
                    self.run, decoding, text=text, prompt_tokens=len(tokens), comparison=comparison
                )
                sys.stdout.write(json.dumps(values, indent=2) + "\n")

        try:
            decode(decoder, tokens, self.run.generation.max_new_tokens, into=decoding, on_round=show)
        except (KeyboardInterrupt, PacelineError):  # what was delivered before a target failed is right
            write(stream.finish())
            self._summarise(decoding)
            conclude()
            raise
        write(stream.finish())
        self._summarise(decoding)
        try:
            comparison = self._compare(parts, decoder, tokens) if comparing else None
        except KeyboardInterrupt:
            conclude()
            raise
        conclude(comparison)
        if comparison is not None and comparison.identical is False:
            self.screen.note("paceline: the output differs from that of plain decoding; see docs/bench.md")
            return 1
        return 0

    def _summarise(self, decoding: Decoding) -> None:
        self.screen.close()
        if self.quiet or self.as_json:
            return
        if self.demo:
            self.screen.note(f"\ngamma per round: {report.strip(decoding.gammas)}")
        self.screen.note(report.summary(decoding, self.run.policy.name))

    def _compare(self, parts: Parts, decoder: SpeculativeDecoder, tokens: list[int]) -> Comparison:
        from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
        from paceline.lab.compare import compare  # noqa: PLC0415
        from paceline.lab.policies import plain_decoder  # noqa: PLC0415

        comparison = compare(
            parts.beside(decoder),
            plain_decoder(parts, Catalogue.load()),
            tokens,
            self.run.generation.max_new_tokens,
            sampled=not self.run.generation.sampling().greedy,
            on_step=self.screen.line,
        )
        if not self.as_json and not self.quiet:
            self.screen.note(comparison.sentence())
        return comparison
