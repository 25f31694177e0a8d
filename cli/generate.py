"""`paceline generate`: text as it is decoded, and how fast that went."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from paceline.cli._decoding import decoding_values, live_line, summary
from paceline.cli._options import DraftOption, JsonOption, ModelOption, TextOptions
from paceline.cli._process import exit_code
from paceline.cli._render import show_json
from paceline.cli._screen import Screen
from paceline.core.errors import BackendError, ConfigError, PacelineError
from paceline.core.files import MIB, read_text, size
from paceline.core.json_text import is_text
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.short_names import plain_decoder
from paceline.lab.workloads.prompts import embedded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round
    from paceline.lab.decoding import Decoding, PairedTimes
    from paceline.lab.models import Models

DEMO_TOKENS = 160
DEMO_PROMPT = "code-3"
"""A prompt on which the embedded target writes varied text for a while before it repeats itself."""

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ROW_ROUNDS = 68
"""Of a timeline: with what stands before them they fit into 80 columns."""

STDIN = "-"
MOST = 16 * MIB
"""Of a prompt: no target reads as much."""

Messages: TypeAlias = "Sequence[Mapping[str, str]]"
"""A conversation, each message with `role` and `content`."""

GIVE = "give a file with the text to go on with, or - for stdin"


def generate(
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="The text to go on with; - reads it from stdin.")
    ] = None,
    *,
    options: TextOptions,
    model: ModelOption = None,
    draft: DraftOption = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Take PROMPT for a message, by the chat template of the target.")
    ] = False,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="What the target is to be; turns --chat on."),
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", "-f", help="Read the prompt from a file; - is stdin.")
    ] = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write every round to this file.")] = None,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Time plain decoding as well, in turns; on with --demo."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Show the embedded pair at work.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The text and errors, nothing else.")] = False,
) -> None:
    """Write text: stdout gets the text, stderr everything else.

    With no PROMPT, the text on stdin is taken; on a terminal, a prompt that comes with paceline.
    """
    text: str
    name: str | None
    if demo and prompt is None and prompt_file is None:
        shipped = embedded()
        first = next((candidate for candidate in shipped if candidate.name == DEMO_PROMPT), shipped[0])
        text, name = first.text, first.name
    else:
        text, name = _find_prompt(prompt, prompt_file)
    run = options.run(
        model=model,
        draft=draft,
        usual_tokens=DEMO_TOKENS if demo else None,
        trace=None if trace is None else str(trace),
    )
    screen = Screen(sys.stdout, sys.stderr, live=not (quiet or as_json))
    if name is not None and not quiet and not demo:
        screen.note(f"no prompt given; going on with the embedded prompt {name!r}")
    if demo and not quiet:
        _introduce(run, text, screen)
    screen.line("loading")
    job = _Job(run, screen, demo=demo, as_json=as_json, quiet=quiet)
    messages = [{"role": "user", "content": text}] if chat or system is not None else []
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    raise typer.Exit(job.work(messages or text, comparing=demo if compare is None else compare))


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
    rounds: list[Round] = field(default_factory=list)

    def work(self, prompt: str | Messages, *, comparing: bool) -> int:
        """Decode, report, and return the exit code."""
        # The loop and the models are loaded only now, so that a wrong option is told at once.
        from paceline.core.trace import TraceWriter  # noqa: PLC0415
        from paceline.lab.models import load_models  # noqa: PLC0415

        stopped: KeyboardInterrupt | None = None
        try:
            models = load_models(self.run, remember=True)
            path, about = self.run.trace, {"config": self.run.model_dump(mode="json")}
            trace = None if path is None else TraceWriter(path, about)
            # Leaving the decoder, however that comes about, closes the trace and saves what the policy learnt.
            with models.decoder(trace=trace) as decoder:
                return self._decode(models, decoder, prompt, comparing=comparing)
        except KeyboardInterrupt as stop:
            stopped = stop
        finally:
            self.screen.close()
        return exit_code(stopped)

    def _decode(
        self, models: Models, decoder: SpeculativeDecoder, prompt: str | Messages, *, comparing: bool
    ) -> int:
        from paceline.core.streaming import TextStream  # noqa: PLC0415
        from paceline.lab.decoding import Decoding, decode  # noqa: PLC0415

        codec = decoder.target.codec
        if codec is None:
            raise BackendError(
                "this target has no tokenizer, so it cannot go on with a text; use paceline in Python"
            )
        tokens = decoder.encode(prompt) if isinstance(prompt, str) else decoder.encode_chat(prompt)
        stream, pieces, decoding = TextStream(codec), list[str](), Decoding()

        def write(piece: str) -> None:
            pieces.append(piece)
            if not self.as_json:
                self.screen.text(piece)

        def show(done: Round) -> None:
            self.rounds.append(done)
            write(stream.push(done.tokens))
            self.screen.line(live_line(decoding, done, decoder.costs))

        def conclude(comparison: PairedTimes | None = None) -> None:
            if self.as_json:
                text = "".join(pieces)
                values = decoding_values(self.run, decoding, text=text, prompt_tokens=len(tokens))
                show_json("generate", values | ({} if comparison is None else _compared(comparison)))

        try:
            decode(decoder, tokens, self.run.generation.max_new_tokens, into=decoding, on_round=show)
        except (KeyboardInterrupt, PacelineError):  # what was delivered before a target failed is right
            write(stream.finish())
            self._summarise(decoding)
            conclude()
            raise
        write(stream.finish())
        self._summarise(decoding)
        self._advise(prompt, decoding, decoder)
        try:
            comparison = self._compare(models, decoder, tokens) if comparing else None
        except KeyboardInterrupt:
            conclude()
            raise
        conclude(comparison)
        if comparison is not None and comparison.identical is False:
            self.screen.note("paceline: the output differs from that of plain decoding; see docs/bench.md")
            return 1
        return 0

    def _advise(self, prompt: str | Messages, decoding: Decoding, decoder: SpeculativeDecoder) -> None:
        """Point to --chat where a model that takes messages had nothing to add to a text."""
        if self.quiet or not isinstance(prompt, str) or decoding.ended != "eos" or len(decoding.tokens) > 1:
            return
        with suppress(BackendError):  # it has no chat template
            decoder.encode_chat([{"role": "user", "content": prompt}])
            self.screen.note(
                "paceline: the text ended at once; this model takes messages: try --chat, or paceline chat"
            )

    def _summarise(self, decoding: Decoding) -> None:
        self.screen.close()
        if self.quiet or self.as_json:
            return
        if self.demo:
            self.screen.note(_timeline(self.rounds))
        self.screen.note(summary(decoding, self.run.policy.name))

    def _compare(self, models: Models, decoder: SpeculativeDecoder, tokens: list[int]) -> PairedTimes:
        from paceline.lab.decoding import time_pairs  # noqa: PLC0415

        comparison = time_pairs(
            models.untraced(decoder),
            plain_decoder(models, Catalogue.load()),
            tokens,
            self.run.generation.max_new_tokens,
            sampled=not self.run.generation.sampling().greedy,
            on_step=self.screen.line,
        )
        if not self.as_json and not self.quiet:
            self.screen.note(comparison.sentence())
        return comparison


def _timeline(rounds: Sequence[Round]) -> str:
    """Return drafts, gammas and accepted tokens of all rounds, a letter or digit each."""
    names = sorted({done.plan.draft for done in rounds if done.plan.draft is not None})
    distinct = len({name[0] for name in names}) == len(names)
    letters = {name: name[0] if distinct else DIGITS[place] for place, name in enumerate(names, start=1)}
    legend = ", ".join([*(f"{letter} {name}" for name, letter in letters.items()), "- plain decoding"])
    lines = [f"\nround by round ({legend}; a is 10, b 11, ...)"]
    for begin in range(0, len(rounds), ROW_ROUNDS):
        row = rounds[begin : begin + ROW_ROUNDS]
        lines += [
            f"  draft    {''.join(letters.get(done.plan.draft or '', '-') for done in row)}",
            f"  gamma    {''.join(_digit(done.plan.gamma) for done in row)}",
            f"  accepted {''.join(_digit(done.accepted) if done.plan.gamma else ' ' for done in row)}",
        ]
    return "\n".join(lines)


def _digit(count: int) -> str:
    return DIGITS[min(count, len(DIGITS) - 1)]


def _compared(comparison: PairedTimes) -> dict[str, Any]:
    """Return what the timed pairs found as JSON-able values."""
    return {
        "plain_tokens_per_second": comparison.plain_rate,
        "compared_tokens_per_second": comparison.rate,
        "speedup": comparison.speedup,
        "speedup_min": comparison.slowest,
        "speedup_max": comparison.fastest,
        "pairs": comparison.pairs,
        "identical": comparison.identical,
    }


def _find_prompt(argument: str | None, file: str | None) -> tuple[str, str | None]:
    """Return the prompt, and the name of the embedded one if it is one of those.

    One line break at the end of a file or pipe is dropped: editors and `echo` put it there.

    Raises:
        typer.BadParameter: There are two prompts, none, an empty one, or one that is no text.
        ConfigError: The file cannot be read.
    """
    if argument is not None and file is not None:
        raise typer.BadParameter("give PROMPT or --prompt-file, not both")
    if argument == STDIN:
        argument, file = None, STDIN
    if argument is not None:
        return _not_empty(argument, "PROMPT"), None
    if file is not None and file != STDIN:
        return _not_empty(_ended(read_text(file, ConfigError, most=MOST, missing=GIVE)), file), None
    # Python leaves stdin None when the process was started with it closed.
    if file == STDIN or sys.stdin is None or not sys.stdin.isatty():
        return _not_empty(_ended(_stdin()), "the text on stdin"), None
    first = embedded()[0]
    return first.text, first.name


def _stdin() -> str:
    if sys.stdin is None:
        raise typer.BadParameter("stdin is closed, so there is no prompt; give PROMPT or --prompt-file")
    try:
        text = sys.stdin.read(MOST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read the prompt from stdin: {error}") from error
    if len(text) > MOST:
        raise typer.BadParameter(f"the text on stdin has more than {size(MOST)}; no target reads as much")
    return text


def _ended(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _not_empty(text: str, where: str) -> str:
    if not text:
        raise typer.BadParameter(f"{where} is empty; give some text to go on with, or try --demo")
    if not is_text(text):
        raise typer.BadParameter(f"{where} is not UTF-8; save or send it in that encoding")
    return text
