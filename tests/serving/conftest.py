"""A decoder of toys behind the server, and a client that speaks ASGI without a network."""

import asyncio
import json

import pytest

from paceline import AsyncDecoder, load_config
from paceline.serving import ServedModel, create_app

RUN = {
    "target": {"backend": "toy", "seed": 7},
    "drafts": {"small": {"backend": "toy", "agreement": 0.8}},
    "policy": {"name": "static", "gamma": 3},
    "generation": {"max_new_tokens": 40},
}


class Answered:
    """Messages that an application sent."""

    def __init__(self, sent):
        self.status = next((m["status"] for m in sent if m["type"] == "http.response.start"), None)
        start = next((m for m in sent if m["type"] == "http.response.start"), {"headers": []})
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


class Client:
    """Asks an application; may go away once so many pieces of a body have come."""

    def __init__(self, app):
        self._app = app

    def __call__(self, method, path, body=None, **options):
        return asyncio.run(asyncio.wait_for(self.ask(method, path, body, **options), 20.0))

    async def ask(self, method, path, body=None, *, leave_after=None, headers=()):
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent, gone = [], asyncio.Event()
        unread = [{"type": "http.request", "body": raw, "more_body": False}]
        if leave_after == 0:
            gone.set()

        async def receive():
            if unread:
                return unread.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if (
                leave_after is not None
                and sum(m["type"] == "http.response.body" for m in sent) >= leave_after
            ):
                gone.set()

        given = {"host": "localhost", "content-type": "application/json", **dict(headers)}
        if raw:
            given.setdefault("content-length", str(len(raw)))
        named = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "headers": named, "client": ("here", 1), "server": ("here", 80),
        }  # fmt: skip
        await self._app(scope, receive, send)
        return Answered(sent)


@pytest.fixture
def run():
    return json.loads(json.dumps(RUN))


@pytest.fixture
def decoder(run):
    decoder = AsyncDecoder(load_config(run).build())
    yield decoder
    decoder.close()


@pytest.fixture
def plain(run):
    """The decoder that the engine has, for itself."""
    return load_config(run).build(interleaved=True)


@pytest.fixture
def ask(decoder):
    return Client(create_app(ServedModel("toys", decoder)))


@pytest.fixture
def client():
    return Client
