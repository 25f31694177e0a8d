"""Many clients at once over real sockets, most of them ill-behaved: nothing lost, nothing stuck, memory flat."""

import asyncio
import gc
import json
import random
import socket
from pathlib import Path

import pytest

from paceline import AsyncDecoder, load_config
from paceline.serving import Admission, Metrics, ServedModel, create_app
from paceline.serving.running import HttpServer

PROMPTS = ["the rain", "in spain", "stays mainly", "in the plain"]
TOKENS = 40
CLIENTS = 64
TEN_MB = 10 * 2**20


class Server:
    """A server of the toy pair in this process."""

    def __init__(self, run):
        self.metrics, self.admission = Metrics(), Admission(queue=CLIENTS)
        self.model = ServedModel("toys", AsyncDecoder(load_config(run).build(observer=self.metrics)))
        self.http = HttpServer(
            create_app(self.model, admission=self.admission, metrics=self.metrics), "127.0.0.1", 0
        )
        self.port = int(self.http.url.rpartition(":")[2])

    def close(self):
        self.model.decoder.close()
        self.http.stop()

    async def idle(self):
        while self.admission.in_flight or self.model.counts() != (0, 0):  # noqa: ASYNC110 - threads bring it about
            await asyncio.sleep(0.01)


@pytest.fixture
def server(run):
    server = Server(run)
    yield server
    server.close()


@pytest.fixture
def expected(run):
    decoder = load_config(run).build()
    return {prompt: decoder.generate(prompt, max_new_tokens=TOKENS).text for prompt in PROMPTS}


def request(body, *, length=None, chunked=False):
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {length or len(body)}"
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"connection: close\r\n{framing}\r\n\r\n"
    )
    return head.encode() + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body)


def asking(prompt, **options):
    return json.dumps({"prompt": prompt, "max_tokens": TOKENS, **options}).encode()


def body_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)


def streamed_text(answer):
    events = body_of(answer).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in events[:-2]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


class Clients:
    """Clients of each kind; all but the well-behaved ones are told by their name."""

    def __init__(self, server, expected, seed):
        self.server, self.expected, self.random = server, expected, random.Random(seed)

    async def _open(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return reader, writer

    async def _answer(self, raw):
        reader, writer = await self._open()
        try:
            writer.write(raw)
            # A server that refuses a body may stop reading it, and the rest cannot be sent.
            try:
                await writer.drain()
                return await reader.read()
            except ConnectionError:
                return None
        finally:
            writer.transport.abort()

    async def whole(self):
        prompt = self.random.choice(PROMPTS)
        answer = await self._answer(request(asking(prompt)))
        assert json.loads(body_of(answer))["choices"][0]["text"] == self.expected[prompt]

    async def stream(self):
        prompt = self.random.choice(PROMPTS)
        assert (
            streamed_text(await self._answer(request(asking(prompt, stream=True)))) == self.expected[prompt]
        )

    async def slow_reader(self):
        prompt = self.random.choice(PROMPTS)
        reader, writer = await self._open()
        writer.write(request(asking(prompt, stream=True)))
        answer = b""
        while piece := await reader.read(512):
            answer += piece
            await asyncio.sleep(0.005)
        writer.transport.abort()
        assert streamed_text(answer) == self.expected[prompt]

    async def leaver(self):
        reader, writer = await self._open()
        stream = self.random.random() < 0.7
        writer.write(request(asking(self.random.choice(PROMPTS), max_tokens=4000, stream=stream)))
        await asyncio.sleep(self.random.random() / 10)
        if stream:
            await reader.read(100)
        writer.transport.abort()

    async def half_sender(self):
        _, writer = await self._open()
        writer.write(request(b'{"prompt": "the', length=500))
        await asyncio.sleep(self.random.random() / 20)
        writer.transport.abort()

    async def huge_body(self):
        body = asking("x" * TEN_MB)
        answer = await self._answer(request(body, chunked=self.random.random() < 0.5))
        assert answer is None or answer.startswith(b"HTTP/1.1 413 ")

    async def malformed(self):
        bodies = [
            b"{",
            b'{"prompt": "x", "max_tokens": "many"}',
            b"[" * 10_000,
            b"\xff\xfe",
            b'{"prompt": 1e999}',
        ]
        answer = await self._answer(request(self.random.choice(bodies)))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body_of(answer))["error"]["type"] == "invalid_request_error"

    async def wave(self):
        kinds = [self.whole, self.stream, self.slow_reader, self.leaver]
        rare = [self.half_sender, self.huge_body, self.malformed]
        chosen = [*kinds * 13, *rare * 4]
        self.random.shuffle(chosen)
        assert len(chosen) == CLIENTS
        await asyncio.gather(*(kind() for kind in chosen))
        await self.server.idle()


def test_64_clients_get_their_texts_whatever_the_others_do(server, expected):
    asyncio.run(asyncio.wait_for(Clients(server, expected, seed=1).wave(), 60.0))
    counted = server.metrics.text(server.model.counts).decode()
    assert 'paceline_requests_total{ended="length"}' in counted
    assert "paceline_requests_active 0.0" in counted


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clients(server, expected):
    sizes = []

    async def waves():
        for seed in range(24):
            await Clients(server, expected, seed).wave()
            gc.collect()
            sizes.append(resident_mb())

    asyncio.run(asyncio.wait_for(waves(), 900.0))
    print("MB resident after each wave:", [round(size) for size in sizes])  # noqa: T201 - for who looks
    # The allocator needs some waves to have all it will need; ten megabytes are one body.
    assert max(sizes[16:]) < max(sizes[8:16]) + 10.0
