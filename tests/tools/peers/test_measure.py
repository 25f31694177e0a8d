"""Every mode writes every prompt's text once, over a pipe; a run that was cut short goes on."""

import json
import sys

import pytest

from paceline.core.errors import ConfigError
from paceline.lab.workloads.prompts import Prompt
from peers.measure import WARM, Key, Plan, Setting, measure, read
from peers.modes import MODES
from peers.protocol import Reply, Request, Worker, WorkerError

PROMPTS = [Prompt("a", "x", (1, 2)), Prompt("b", "y", (3,))]
PLAIN, LOOKUP = (mode for mode in MODES if mode.engine == "llama")

ECHO = """
import sys
sys.path.insert(0, {tools!r})
from peers.protocol import serve

def load():
    print("libraries print what they like", flush=True)
    {load}
    def generate(request):
        if request.prompt == [0]:
            raise ValueError("no zeros\\nand more")
        if request.prompt == [9]:
            sys.exit("gone")
        return [token + request.seed for token in request.prompt] * request.tokens
    return generate

serve(load, int(sys.argv[1]))
"""


@pytest.fixture
def worker(tmp_path, request):
    tools = str(request.config.rootpath / "tools")

    def start(load="pass"):
        command = [sys.executable, "-I", "-c", ECHO.format(tools=tools, load=load)]
        return Worker("echo", command, log=tmp_path / "log")

    return start


class Fake:
    """A worker that writes as many tokens as are wanted, and notes what it was asked for."""

    def __init__(self, requests, fails=()):
        self.requests, self.fails, self.closed = requests, fails, False

    def ask(self, request):
        self.requests.append(request)
        if request.mode in self.fails:
            raise WorkerError("broken")
        return Reply([7] * request.tokens, 2.0, 3.0)

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("peers.measure.PAUSE_S", 0.0)


def plan(**changes):
    given = {
        "modes": [(PLAIN, "int8"), (LOOKUP, "int8")],
        "settings": [Setting(1, 0.0)],
        "limit": 4,
        "minutes": 9,
    }
    return Plan(**{**given, **changes})


def run(path, requests, prompts=PROMPTS, fails=(), **changes):
    workers = []

    def start(*place):
        workers.append((place, Fake(requests, fails)))
        return workers[-1][1]

    failed = measure(prompts, plan(**changes), start, path)
    assert all(fake.closed for _, fake in workers)
    return failed, [place for place, _ in workers]


def test_a_worker_answers_until_it_is_closed_whatever_its_library_prints(worker):
    echo = worker()
    reply = echo.ask(Request("plain", [1, 2], 2, 0.0, 5))
    assert reply.tokens == [6, 7, 6, 7]
    assert 0 <= reply.cpu_s <= reply.wall_s + 0.1
    with pytest.raises(WorkerError, match=r"^echo: ValueError: no zeros and more$"):
        echo.ask(Request("plain", [0], 1, 0.0, 0))
    assert echo.ask(Request("plain", [3], 1, 0.0, 0)).tokens == [3]
    echo.close()


def test_a_worker_whose_engine_cannot_be_loaded_says_why(worker):
    with pytest.raises(WorkerError, match=r"^echo: ModuleNotFoundError: No module named 'absent'$"):
        worker("import absent")


def test_a_worker_that_dies_is_told_with_what_it_printed_last(worker):
    echo = worker()
    with pytest.raises(WorkerError, match=r"^echo: the process ended: gone$"):
        echo.ask(Request("plain", [9], 1, 0.0, 0))
    echo.close()


def test_every_mode_is_warmed_up_and_writes_every_text_and_another_begins_each_time(tmp_path):
    requests = []
    failed, started = run(tmp_path / "out", requests)
    assert (failed, started) == ({}, [("llama", "int8", 1)])
    assert [request.tokens for request in requests] == [WARM, WARM, 4, 4, 4, 4]
    assert [request.mode for request in requests[2:]] == ["plain", "lookup", "lookup", "plain"]
    texts = read(tmp_path / "out")
    assert len(texts) == 4
    text = texts[Key("b", "llama.cpp-lookup", "int8", 1, 0.0, 4)]
    assert text == ("y", 1, (7, 7, 7, 7), 2.0, 3.0)


def test_what_is_there_is_not_written_again_and_a_line_cut_short_is(tmp_path):
    path = tmp_path / "out"
    run(path, [])
    whole = path.read_text()
    path.write_text(whole[:-20])
    requests = []
    run(path, requests)
    assert [request.tokens for request in requests] == [WARM, 4]
    assert sorted(path.read_text().splitlines()) == sorted(whole.splitlines())
    requests.clear()
    run(path, requests)
    assert requests == []


def test_each_setting_is_a_text_of_its_own(tmp_path):
    settings = [Setting(1, 0.0), Setting(2, 0.0), Setting(1, 0.8)]
    _, started = run(tmp_path / "out", [], settings=settings)
    assert started == [("llama", "int8", 1), ("llama", "int8", 2)]
    assert len(read(tmp_path / "out")) == 2 * 2 * 3


def test_a_mode_that_fails_is_left_out_with_the_reason_and_the_others_go_on(tmp_path):
    failed, _ = run(tmp_path / "out", [], fails={"lookup"})
    assert failed == {"llama.cpp-lookup int8": "broken"}
    assert {key.mode for key in read(tmp_path / "out")} == {"llama.cpp"}


def test_no_prompt_is_begun_when_the_time_is_over(tmp_path):
    run(tmp_path / "out", [], minutes=-1)
    assert read(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": "a"}', json.dumps({**dict.fromkeys(Key._fields), "x": 1})]
)
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "out"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=r"out:1: no text of this measurement; give another --out"):
        read(path)
