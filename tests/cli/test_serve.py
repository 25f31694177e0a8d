"""`paceline serve` as its users and operators meet it: over a socket, with signals."""

import http.client
import json
import signal
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from paceline import load_config

from .conftest import TOY


class Served:
    """A server that was started, and requests to it."""

    def __init__(self, process):
        self.process = process
        line = process.stdout.readline()
        assert line, process.stderr.read()
        self.host = urlsplit(line.split()[3].rstrip(",")).netloc

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"content-type": "application/json"} | headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    @contextmanager
    def stream(self, prompt, max_tokens):
        """Give the response to a request that streams, once its first line has come."""
        with closing(http.client.HTTPConnection(self.host, timeout=20)) as connection:
            body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "stream": True})
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            with connection.getresponse() as response:
                response.readline()
                yield response

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def start(cli):
    started = []

    def start(*arguments):
        process = cli.start("serve", "--port", "0", *arguments)
        started.append(process)
        return Served(process)

    yield start
    for process in started:
        with process:  # closes its pipes
            process.kill()


def test_a_run_file_is_served_and_the_first_signal_ends_the_server_with_0(cli, start):
    # A policy that looks at the clock would draft another number each time.
    toy = cli.file("static.yaml", TOY + "policy: {name: static, gamma: 3}\n")
    server = start("--config", toy, "--name", "toys")
    status, text = server.ask("POST", "/v1/completions", {"prompt": "the rain", "max_tokens": 12})
    assert status == 200
    expected = load_config(toy).build().generate("the rain", max_new_tokens=12)
    assert json.loads(text)["choices"][0]["text"] == expected.text
    assert json.loads(server.ask("GET", "/v1/models")[1])["data"][0]["id"] == "toys"
    assert server.ask("GET", "/health")[0] == 200
    metrics = dict(line.rsplit(" ", 1) for line in server.ask("GET", "/metrics")[1].splitlines())
    assert float(metrics["paceline_generation_tokens_total"]) == 12
    assert float(metrics['paceline_requests_total{ended="length"}']) == 1
    assert float(metrics['paceline_drafted_tokens_total{draft="good"}']) == expected.totals.drafted
    code, _, err = server.end()
    assert code == 0
    assert "loading 'toys'" in err
    assert "request_finished ended='length'" in err


def test_a_request_under_way_is_finished_and_a_second_signal_waits_for_nothing(start, slow_toy):
    server = start("--config", slow_toy, "--quiet")
    with server.stream("the rain", 40) as response:
        server.process.send_signal(signal.SIGINT)
        rest = response.read().decode()
    assert '"finish_reason":"length"' in rest
    assert rest.endswith("data: [DONE]\n\n")
    assert server.process.wait(20) == 0


def test_a_second_signal_waits_for_nothing(start, slow_toy):
    server = start("--config", slow_toy, "--grace", "60")
    with server.stream("the rain", 4000):
        server.process.send_signal(signal.SIGTERM)
        assert any("new ones are sent away" in line for line in server.process.stderr)
        assert server.ask("POST", "/v1/completions", {"prompt": "x"})[0] == 503
        code, _, err = server.end(signal.SIGTERM)
    assert code == 143
    assert "ended='length'" not in err


def test_a_text_that_is_not_done_in_the_time_of_grace_ends_with_an_error_in_its_stream(start, slow_toy):
    server = start("--config", slow_toy, "--grace", "0.1")
    with server.stream("the rain", 4000) as response:
        server.process.send_signal(signal.SIGTERM)
        *_, last, done, _ = response.read().decode().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert done == "data: [DONE]"
    _, err = server.process.communicate(timeout=20)
    assert server.process.returncode == 0
    assert "they are cut" in err


def test_a_key_and_a_deadline_hold(start, slow_toy):
    server = start("--config", slow_toy, "--api-key", "secret", "--deadline", "0.2")
    assert server.ask("GET", "/metrics")[0] == 401
    asked = {"prompt": "the rain"}
    assert server.ask("POST", "/v1/completions", asked)[0] == 401
    status, text = server.ask("POST", "/v1/completions", asked, authorization="Bearer secret")
    assert (status, json.loads(text)["error"]["code"]) == (504, "deadline_exceeded")


def test_what_cannot_be_served_is_told_before_and_by_the_exit_code(cli, start, toy):
    server = start("--config", toy)
    port = server.host.rpartition(":")[2]
    assert "another program listens" in cli.call("serve", "--config", toy, "--port", port, code=1).stderr
    assert "no-such" in cli.call("serve", "--config", toy, "--policy", "no-such", code=2).stderr
    assert "Traceback" not in cli.call("serve", "./no-such-folder", "--port", "0", code=1).stderr
