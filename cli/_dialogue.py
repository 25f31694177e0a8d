"""A conversation in a terminal: what is said, commands, Ctrl-C, and answers as they are written."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Never

from paceline.cli._decoding import live_line
from paceline.cli._process import Stopped
from paceline.cli._render import warn
from paceline.cli._screen import DIM, Screen
from paceline.core.errors import BackendError, PacelineError
from paceline.core.files import check_output, write_text
from paceline.core.generation import Totals
from paceline.core.json_text import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from paceline.core.config.run import RunConfig
    from paceline.core.conversation import Conversation, Message
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round
    from paceline.lab.decoding import Decoding

PROMPT: Final = ">>> "
HELP: Final = """\
/stats        how fast the answers came, and from whom
/retry        take the last answer back and give another one
/undo         take the last turn back
/system TEXT  what the target is to be; without TEXT, show it
/save FILE    write the messages to a file, as a workload takes them
/reset        forget what was said, but for /system
/exit         leave; so does Ctrl-D
A line that ends with \\ goes on in the next; // begins a message with a slash. Ctrl-C stops an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as far as it came."""

    decoding: Decoding
    text: str
    prompt_tokens: int


@dataclass(slots=True)
class Answers:
    """The answers of one call of the command, shown as they are written."""

    run: RunConfig
    decoder: SpeculativeDecoder
    screen: Screen
    conversation: Conversation
    colours: dict[str, str]
    given: list[Totals] = field(default_factory=list)
    """Sums of each answer that was not taken back."""
    busy: bool = False
    reading: bool = False
    stopped: bool = False

    def answer(self, message: str | Message, *, shown: bool = True) -> Answer:
        """Say something, show the answer, and return it; `stopped` ends it after the round under way."""
        from paceline.lab.decoding import Decoding, follow  # noqa: PLC0415  # it loads numpy

        decoding, text, pieces = Decoding(), self.decoder.text_stream(), list[str]()
        prompt_tokens = 0

        def write(piece: str, draft: str | None = None) -> None:
            pieces.append(piece)
            if shown:
                self.screen.text(piece, self.colours.get(draft or "", ""))

        def show(done: Round) -> None:
            nonlocal prompt_tokens
            self.reading = False
            prompt_tokens = prompt_tokens or done.context
            write(text.push(done.tokens[: done.accepted]), done.plan.draft)
            write(text.push(done.tokens[done.accepted :]))
            self.screen.line(live_line(decoding, done, self.decoder.costs))
            if self.stopped:
                raise StopAnswer

        self.busy, self.reading, self.stopped = True, True, False
        self.screen.line("reading")
        try:
            follow(self.conversation.rounds(message), decoding, show)
        except (StopAnswer, StopReading):
            pass
        finally:
            self.busy = False
            write(text.finish())
            self.screen.close()
            decoding.failures = self.decoder.failures
            if decoding.tokens:
                self.given.append(decoding.totals)
        return Answer(decoding, "".join(pieces), prompt_tokens)

    def undo(self) -> Message | None:
        """Take the last turn back, and return what the user said; None if there is none."""
        message = self.conversation.undo()
        if message is not None:
            self.given.pop()
        return message


class StopAnswer(Exception):  # noqa: N818 - the user's wish, and no error
    """The answer is to end here."""


class StopReading(KeyboardInterrupt):
    """The answer is to end before it begins: what is read may be long."""


class Dialogue:
    """The conversation in a terminal.

    Args:
        answers: Gives the answers.
        quiet: Show nothing but them.
    """

    def __init__(self, answers: Answers, *, quiet: bool) -> None:
        self._answers = answers
        self._quiet = quiet
        self._screen = answers.screen
        self._saved: set[Path] = set()
        self._commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: self._screen.note(HELP),
            "stats": lambda _: self._screen.note(stats(answers)),
            "retry": lambda _: self._retry(),
            "undo": lambda _: self._undo(),
            "system": self._system,
            "save": self._save,
            "reset": lambda _: self._reset(),
            "exit": lambda _: leave(),
        }

    def run(self) -> None:
        """Talk until the user leaves."""
        self._greet()
        with interrupts(self._answers):
            interrupted = False
            while True:
                try:
                    line = read_message()
                except EOFError:
                    sys.stderr.write("\n")
                    return
                except KeyboardInterrupt as stop:
                    sys.stderr.write("\n")
                    if interrupted or isinstance(stop, Stopped):  # other signals than Ctrl-C are no question
                        raise
                    interrupted = True
                    self._screen.note("once more, or Ctrl-D, leaves")
                    continue
                interrupted = False
                try:
                    self._take(line)
                except LeaveChat:
                    return
                except PacelineError as error:
                    warn(str(error))

    def _take(self, line: str) -> None:
        if not line.strip():
            return
        if line.startswith("/") and not line.startswith("//"):
            name, _, rest = line[1:].partition(" ")
            if name not in self._commands:
                self._screen.note(f"there is no /{name}; /help lists what there is")
                return
            self._commands[name](rest.strip())
        else:
            self._say(line[1:] if line.startswith("//") else line)

    def _say(self, message: str | Message) -> None:
        decoding = self._answers.answer(message).decoding
        if self._quiet:
            return
        totals = decoding.totals
        ended = {"length": ", cut: -n allows more", None: ", stopped"}
        self._screen.note(
            f"{totals.emitted} tokens, {totals.tokens_per_second:.1f} tok/s, {accepted(totals)}"
            f"{ended.get(decoding.ended, '')}",
            colour=DIM,
        )

    def _retry(self) -> None:
        message = self._answers.undo()
        if message is None:
            self._screen.note("nothing was said yet")
            return
        if self._answers.decoder.sampling.greedy:
            self._screen.note("the likeliest answer is the same again; --temperature 0.7 draws others")
        self._say(message)

    def _undo(self) -> None:
        message = self._answers.undo()
        taken = "nothing was said yet" if message is None else f"taken back: {message.get('content')}"
        self._screen.note(taken)

    def _system(self, text: str) -> None:
        messages = self._answers.conversation.messages
        has_system = bool(messages) and messages[0]["role"] == "system"
        if text:
            messages[:has_system] = [{"role": "system", "content": text}]
        self._screen.note(
            f"system: {messages[0]['content'] if text or has_system else 'none; /system TEXT sets it'}"
        )

    def _save(self, name: str) -> None:
        path = Path(name).expanduser()
        if not name or (path.exists() and path not in self._saved):
            self._screen.note(
                f"{name} is there already; give another name" if name else "give a name: /save FILE"
            )
            return
        check_output(path, BackendError)
        document = {"messages": self._answers.conversation.messages}
        write_text(path, json.dumps(document, ensure_ascii=False) + "\n", BackendError)
        self._saved.add(path)
        self._screen.note(f"wrote {path}")

    def _reset(self) -> None:
        messages = self._answers.conversation.messages
        messages[:] = [message for message in messages[:1] if message["role"] == "system"]
        self._screen.note("forgotten")

    def _greet(self) -> None:
        self._screen.close()
        if self._quiet:
            return
        answers = self._answers
        names = {name: f"{colour}{name}\x1b[0m" for name, colour in answers.colours.items()}
        drafts = ", ".join(names.get(name, name) for name in answers.run.drafts)
        model = getattr(answers.run.target, "model", answers.run.target.backend)
        self._screen.note(f"{Path(str(model)).name}, drafts: {drafts or 'none'}; /help lists commands")


class LeaveChat(Exception):  # noqa: N818 - the user's wish, and no error
    """The user leaves."""


def leave() -> Never:
    """Leave the conversation."""
    raise LeaveChat


def accepted(totals: Totals) -> str:
    """Return how much of what was drafted the target agreed with."""
    return (
        f"{totals.acceptance:.0%} of {totals.drafted} drafted accepted" if totals.drafted else "none drafted"
    )


def stats(answers: Answers) -> str:
    """Return what there is to say of all answers so far."""
    totals = sum(answers.given, Totals())
    if not totals.rounds:
        return "nothing was said yet"
    rounds = ", ".join(f"{name or 'plain'} {count}" for name, count in totals.drafts.items())
    return (
        f"{len(answers.given)} answers, {totals.emitted} tokens in {totals.rounds} rounds "
        f"({totals.tokens_per_round:.2f} a round), {totals.tokens_per_second:.1f} tok/s\n"
        f"{accepted(totals)}, mean gamma {totals.gamma:.1f}, rounds by draft: {rounds}\n"
        f"{totals.prefill_s:.2f} s reading, {totals.seconds:.2f} s writing, policy {answers.run.policy.name}"
    )


def read_message() -> str:
    """Return what the user says: a line, and those after it as long as each ends with a backslash.

    Raises:
        EOFError: There is no more.
    """
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415  # gives input() editing and a history, and changes the terminal

    line = read_line(PROMPT)
    while line.endswith("\\"):
        line = f"{line[:-1]}\n{read_line('... ')}"
    return line if is_text(line) else line.encode("utf-8", "replace").decode()


def read_line(prompt: str) -> str:
    """Return one line from the terminal; the prompt goes there too, and never into a pipe."""
    if sys.stdout.isatty():
        return input(prompt)
    sys.stderr.write(prompt)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


@contextmanager
def interrupts(answers: Answers) -> Iterator[None]:
    """Let Ctrl-C end the answer under way after its round, and the command where it comes twice or nothing is said."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if answers.busy and not answers.stopped:
            answers.stopped = True
            if answers.reading:
                raise StopReading
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
