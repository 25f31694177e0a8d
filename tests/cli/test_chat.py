"""`paceline chat`: in a terminal, in a pipe, and what may go wrong in both."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pytest

from paceline.backends.toy import Letters, ToyTarget
from paceline.cli import _dialogue, chat
from paceline.cli._dialogue import Answers, Dialogue
from paceline.cli._screen import Screen
from paceline.core.config.load import load_config
from paceline.lab.workloads.files import read

from .conftest import TOY

TARGET = ToyTarget(seed=3)
RUN = load_config(
    {
        "target": {"backend": "toy", "seed": 3},
        "drafts": {"good": {"backend": "toy", "agreement": 0.7}},
        "policy": {"name": "static", "gamma": 3},
        "generation": {"max_new_tokens": 30},
    }
)


class ChatLetters(Letters):
    """The toy's tokenizer with a chat template."""

    def encode_chat(self, messages, options):
        return self.encode(" ".join(f"{message['role']} {message['content']}" for message in messages))


def decoder_for(target=TARGET):
    decoder = RUN.build()
    decoder.target = replace(target, codec=ChatLetters())
    return decoder


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def talk(monkeypatch, tmp_path):
    """Return what says some lines in a dialogue, and what that shows: text, notes, and the conversation."""
    monkeypatch.chdir(tmp_path)

    def talking(*lines, colours=None, system=None, target=TARGET):
        typed = iter(lines)

        def read_message():
            line = next(typed, EOFError())
            if isinstance(line, type | BaseException):
                raise line
            return line

        monkeypatch.setattr(_dialogue, "read_message", read_message)
        out, err = Terminal(), Terminal()
        decoder = decoder_for(target)
        answers = Answers(
            RUN, decoder, Screen(out, err, live=False), decoder.conversation(system), colours or {}
        )
        monkeypatch.setattr(sys, "stderr", err)
        Dialogue(answers, quiet=False).run()
        return out.getvalue(), err.getvalue(), answers.conversation

    return talking


def test_turns_are_answered_and_counted(talk):
    text, said, conversation = talk("hello", "", "and you", "/stats")
    assert [message["role"] for message in conversation.messages] == ["user", "assistant"] * 2
    assert text == "".join(f"{message['content']}\n" for message in conversation.messages[1::2])
    assert "2 answers, 60 tokens" in said
    assert re.search(r"rounds by draft: .*good \d+", said)


def test_an_answer_that_is_taken_back_is_counted_no_more(talk):
    _, said, _ = talk("hello", "/retry", "and you", "/undo", "/stats")
    assert "1 answers, 30 tokens" in said
    assert "nothing was said yet" in talk("hello", "/undo", "/stats")[1]


def test_ctrl_c_stops_the_reading_of_a_message(talk):
    class Interrupted(ToyTarget):
        def open(self, prompt):
            if len(prompt) > 40:
                signal.raise_signal(signal.SIGINT)
            return super().open(prompt)

    target = Interrupted(seed=3)
    _, said, conversation = talk("hello " * 20, "hello", target=target)
    assert "0 tokens, 0.0 tok/s, none drafted, stopped" in said
    assert [message["content"] for message in conversation.messages[::2]] == ["hello"]
    assert conversation.messages == talk("hello")[2].messages


def test_what_was_drafted_is_coloured_and_what_the_target_wrote_is_not(talk):
    text, _, conversation = talk("hello", colours={"good": "\x1b[36m"})
    plain = re.sub(r"\x1b\[\d+m", "", text)
    drafted = "".join(re.findall(r"\x1b\[36m(.*?)\x1b\[0m", text))
    assert plain == conversation.messages[-1]["content"] + "\n"
    decoder = decoder_for()
    tokens = decoder.encode_chat(conversation.messages[:1])
    accepted = [token for done in decoder.rounds(tokens) for token in done.tokens[: done.accepted]]
    assert drafted == Letters().decode(accepted)
    assert 0 < len(drafted) < len(plain) - 1


def test_a_turn_can_be_taken_back_and_tried_again(talk):
    _, said, conversation = talk("/retry", "/undo", "hello", "/retry", "two", "/undo")
    assert said.count("nothing was said yet") == 2
    assert "taken back: two" in said
    assert "the same again; --temperature 0.7" in said
    assert [message["content"] for message in conversation.messages[::2]] == ["hello"]


def test_instructions_are_shown_set_and_outlive_a_reset(talk):
    _, said, conversation = talk("/system", "/system be brief", "hello", "/system be long", "/reset")
    assert "none; /system TEXT sets it" in said
    assert conversation.messages == [{"role": "system", "content": "be long"}]
    _, said, _ = talk("/system", system="be kind")
    assert "system: be kind" in said


def test_what_was_said_is_saved_as_a_workload(talk, tmp_path):
    (tmp_path / "there.jsonl").write_text("mine")
    _, said, conversation = talk(
        "hello", "/save", "/save there.jsonl", "/save no/where", "/save new.jsonl", "go on", "/save new.jsonl"
    )
    assert "give a name" in said
    assert "there.jsonl is there already" in said
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    assert "no/where" in said
    assert json.loads((tmp_path / "new.jsonl").read_text())["messages"] == conversation.messages
    assert read(tmp_path / "new.jsonl")[0].messages == conversation.messages


def test_unknown_commands_are_named_and_a_doubled_slash_is_text(talk):
    _, said, conversation = talk("/helo", "/help", "//usr/bin", "/exit", "never said")
    assert "there is no /helo" in said
    assert "/retry" in said
    assert [message["content"] for message in conversation.messages[::2]] == ["/usr/bin"]


def test_a_turn_that_cannot_be_taken_is_told_and_the_next_one_is(talk, monkeypatch):
    short = ToyTarget(seed=3, max_context=40)
    _, said, conversation = talk("x" * 60, "hi", target=short)
    assert "the target's context ends at 40" in said
    assert [message["content"] for message in conversation.messages[::2]] == ["hi"]


def test_interrupting_twice_at_the_prompt_leaves(talk):
    talk(KeyboardInterrupt, "hello", KeyboardInterrupt, "/exit")
    with pytest.raises(KeyboardInterrupt):
        talk(KeyboardInterrupt, KeyboardInterrupt)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_answer_and_a_second_one_the_command(talk, monkeypatch, times):
    calls = []
    following = ToyTarget.next

    def interrupted(target, context):
        calls.append(1)
        if len(calls) == 20:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return following(target, context)

    monkeypatch.setattr(ToyTarget, "next", interrupted)
    before = signal.getsignal(signal.SIGINT)
    if times == 2:
        with pytest.raises(KeyboardInterrupt):
            talk("hello")
    else:
        text, said, conversation = talk("hello", "again")
        first, _, second, _ = (message["content"] for message in conversation.messages)
        assert (first, second) == ("hello", "again")
        assert 0 < len(conversation.messages[1]["content"]) < 30
        assert "stopped" in said
        assert text.startswith(conversation.messages[1]["content"] + "\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_in_a_pipe_each_line_is_a_turn_and_stdout_has_the_answers_alone(cli, chat_model):
    done = cli.call("chat", chat_model, "-n", "12", stdin="add two numbers\n\n/help\n", code=0)
    assert "\x1b" not in done.stdout
    documents = [
        json.loads(line)
        for line in cli.call(
            "chat", chat_model, "-n", "12", "--json", stdin="add two numbers\n\n/help\n", code=0
        ).stdout.splitlines()
    ]
    assert [(found["turn"], found["message"]) for found in documents] == [
        (1, "add two numbers"),
        (2, "/help"),
    ]
    assert done.stdout == "".join(found["text"].rstrip("\n") + "\n" for found in documents)
    first, second = documents
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["emitted"]
    assert first["kind"] == "chat"


def test_a_model_without_chat_template_says_where_to_get_one(cli):
    run = cli.file("run.yaml", TOY)
    said = cli.call("chat", "-c", run, stdin="hello\n", code=1).stderr
    assert "no chat template" in said
    assert "paceline chat HuggingFaceTB/SmolLM2-135M-Instruct" in said
    assert "Traceback" not in said


def test_what_is_no_text_is_refused_with_its_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("fine\nnot \udcff\n"))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    decoder = decoder_for()
    answers = Answers(RUN, decoder, Screen(sys.stdout, sys.stderr), decoder.conversation(), {})
    with pytest.raises(chat.typer.BadParameter, match="line 2 of stdin is not UTF-8"):
        chat.answer_lines(answers, as_json=False)


def test_a_line_that_cannot_be_answered_is_refused_and_the_next_one_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"a\n{'b' * 2000}\nc\n"))
    decoder = decoder_for()
    decoder.target = replace(decoder.target, max_context=1000)
    answers = Answers(RUN, decoder, Screen(sys.stdout, sys.stderr), decoder.conversation(), {})
    with pytest.raises(chat.typer.Exit):
        chat.answer_lines(answers, as_json=True)
    out, err = capsys.readouterr()
    documents = [json.loads(line) for line in out.splitlines()]
    assert [document["message"] for document in documents] == ["a", "b" * 2000, "c"]
    assert [("context ends at 1000" in document.get("error", "")) for document in documents] == [
        False,
        True,
        False,
    ]
    assert "line 2 of stdin" in err


class Session:
    """The command in a terminal of 80 columns."""

    def __init__(self, folder, environment, *arguments):
        self.main, other = pty.openpty()
        ioctl(other, TIOCSWINSZ, pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-Im", "paceline.cli", "chat", *map(str, arguments)],
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=folder,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(other)
        self.shown = ""

    def type(self, text):
        os.write(self.main, text.encode())

    def until(self, text):
        """Read until this stands there after what was read before; return all of it."""
        deadline, shown = time.monotonic() + 60, ""
        while text not in shown:
            assert time.monotonic() < deadline, self.shown
            ready, _, _ = select.select([self.main], [], [], 1.0)
            if ready:
                try:
                    data = os.read(self.main, 4096).decode(errors="replace")
                except OSError:  # the other side has gone
                    break
                shown += data
                self.shown += data
        return shown

    def ended(self):
        """Read to the end, for which the terminal of the process waits, and return the exit code."""
        self.until("\N{NULL}")
        return self.process.wait(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_stop_ends_a_dialogue_that_waits(cli, chat_model, number):
    session = Session(cli.folder, cli.environment(), chat_model)
    try:
        session.until(">>> ")
        session.type("half a li")  # its echo tells that the command waits for more
        session.until("half a li")
        time.sleep(0.2)
        session.process.send_signal(number)
        assert session.ended() == 128 + number
    finally:
        session.process.kill()
        os.close(session.main)


def test_a_dialogue_in_a_terminal(cli, chat_model):
    session = Session(cli.folder, cli.environment(), chat_model, "-n", "400")
    try:
        session.until(">>> ")
        session.type("add two numbers\r")
        session.until("tok/s")
        session.type("\x03")  # to a process without a controlling terminal it is a letter
        os.kill(session.process.pid, signal.SIGINT)
        assert "stopped" in session.until(">>> ")
        session.type("/stats\r")
        assert "1 answers" in session.until(">>> ")
        session.type("/exit\r")
        assert session.ended() == 0
    finally:
        session.process.kill()
        os.close(session.main)
    assert "\x1b[36m" in session.shown
    assert "Traceback" not in session.shown
