"""Pages of strangers do not reach vLLM; programs do."""

import asyncio
import json
import os

import pytest

from paceline_vllm.admission import Admission


def ask(kind, method, headers):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "reached"})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    if method is not None:
        scope["method"] = method
    asyncio.run(Admission(app)(scope, None, send))
    return sent


HERE = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("kind", "method", "headers"),
    [
        ("http", "POST", HERE),
        ("http", "GET", HERE | {"origin": "https://evil.example"}),
        ("http", "POST", {"host": "models.example"}),
        ("websocket", None, HERE),
        ("lifespan", None, {}),
    ],
)
def test_programs_are_let_in(kind, method, headers, monkeypatch):
    monkeypatch.setenv("PACELINE_ALLOWED_HOSTS", "a.example, models.example")
    assert ask(kind, method, headers) == [{"type": "reached"}]


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, HERE | {"origin": "https://evil.example"}, HERE | {"origin": "null"}],
)
def test_pages_of_strangers_are_not(headers):
    start, body = ask("http", "POST", headers)
    assert start["status"] == 403
    assert json.loads(body["body"])["error"]["message"]
    assert ask("websocket", None, headers) == [{"type": "websocket.close", "code": 1008}]


def test_new_work_is_refused_once_the_command_was_told_to_end(monkeypatch):
    closing, close = os.pipe()
    monkeypatch.setenv("PACELINE_CLOSING", str(closing))
    assert ask("http", "POST", HERE) == [{"type": "reached"}]
    os.write(close, b".")
    start, _ = ask("http", "POST", HERE)
    assert start["status"] == 503
    assert (b"retry-after", b"2") in start["headers"]
    assert ask("http", "GET", HERE) == [{"type": "reached"}]
    os.close(close)
    os.close(closing)
    assert ask("http", "POST", HERE) == [{"type": "reached"}]  # a process that was not given the file
