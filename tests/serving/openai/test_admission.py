"""Requests that the HTTP interface lets in, and what it does with what clients control."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline.serving import Admission, ServedModel, create_app
from paceline.serving.openai.admission import AdmissionMiddleware
from paceline.serving.openai.errors import ApiError
from paceline.serving.openai.requests import DEEPEST, ChatRequest, CompletionRequest, parse_request
from paceline.serving.scheduler import MAX_ACTIVE

ASKED = {"prompt": "the rain in spain", "max_tokens": 4}
PATH = "/v1/completions"


@pytest.fixture
def serve(decoder, client):
    return lambda admission=None, **options: client(
        create_app(ServedModel("toys", decoder), admission=admission or Admission(**options))
    )


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "not_json"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        ({"content-type": None}, 415, "not_json"),
        ({"origin": "https://evil.example"}, 403, "cross_site_request"),
        ({"host": "evil.example"}, 403, "cross_site_request"),
        ({"content-type": "application/json; charset=utf-8"}, 200, None),
        ({"host": "chat.example"}, 200, None),
    ],
    ids=str,
)
def test_no_page_of_a_stranger_gets_a_text(serve, headers, status, code):
    found = serve(hosts=["chat.example"])("POST", PATH, ASKED, headers=headers)
    assert found.status == status
    assert found.json.get("error", {}).get("code") == code


def test_a_key_is_asked_for_everywhere_but_for_health(serve):
    ask = serve(key="secret")
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}):
        assert ask("POST", PATH, ASKED, headers=headers).status == 401
    assert ask("GET", "/v1/models").status == 401
    assert ask("GET", "/health").status == 200
    assert ask("POST", PATH, ASKED, headers={"authorization": "bearer secret"}).status == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_long_is_413(serve, declared):
    ask = serve(body_bytes=100)
    headers = {} if declared else {"content-length": None}
    found = ask("POST", PATH, {"prompt": "x" * 200}, headers=headers)
    assert (found.status, found.json["error"]["code"]) == (413, "body_too_long")


def test_those_who_find_the_queue_full_may_try_again(serve):
    admission = Admission(queue=2)
    ask = serve(admission)
    admission.in_flight = MAX_ACTIVE + 1
    assert ask("POST", PATH, ASKED).status == 200
    admission.in_flight = MAX_ACTIVE + 2
    found = ask("POST", PATH, ASKED)
    assert (found.status, found.headers["retry-after"]) == (429, "2")
    assert ask("GET", "/v1/models").status == 200
    assert admission.in_flight == MAX_ACTIVE + 2


def test_a_door_that_closes_lets_nothing_new_in(serve):
    admission = Admission(closing=True, server="mine")
    ask = serve(admission)
    found = ask("POST", PATH, ASKED)
    assert (found.status, found.headers["retry-after"]) == (503, "2")
    health = ask("GET", "/health")
    assert (health.status, health.json) == (503, {"status": "closing", "server": "mine"})


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
def test_what_is_no_text_or_too_deep_is_400_and_in_no_log(serve, path):
    ask = serve()
    bodies = [
        b'{"prompt": "a secret \\ud800"}',
        b'{"messages": [{"role": "user", "content": "a secret \\udfff"}]}',
        b'{"prompt": "a secret", "stop": "\\ud800"}',
        b'{"prompt": "a secret", "metadata": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"prompt": "a secret", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": "a secret", "temperature": NaN}',
        b'{"prompt": "a secret \xff"}',
        b'{"prompt": "a secret", "max_tokens": ' + b"9" * 5000 + b"}",
        b'["a secret"]',
        b'"a secret"',
    ]
    with capture_logs() as logs:
        for body in bodies:
            found = ask("POST", path, body)
            assert found.status == 400, body[:60]
            assert "secret" not in found.json["error"]["message"]
    assert logs == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.data())
def test_any_values_are_taken_or_refused_in_sentences(data):
    import json

    kind = data.draw(st.sampled_from([CompletionRequest, ChatRequest]))
    names = st.sampled_from(sorted(kind.model_fields)) | st.text(max_size=4)
    body = json.dumps(data.draw(st.dictionaries(names, json_values, max_size=4))).encode()
    told = ""
    try:
        parse_request(body, kind)
    except ApiError as error:
        told = error.message
    assert "pydantic" not in told
    assert "Input should" not in told


@pytest.mark.parametrize("kind", [CompletionRequest, ChatRequest])
def test_every_parameter_says_what_it_may_be(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_as_deep_as_allowed_is_allowed():
    deep = b"[" * (DEEPEST - 2) + b"]" * (DEEPEST - 2)
    parse_request(b'{"prompt": "x", "metadata": {"a": %b}}' % deep[1:-1], CompletionRequest)


def test_a_prompt_that_takes_long_to_encode_holds_up_nobody(decoder, ask, monkeypatch):
    go, encode = threading.Event(), decoder.decoder.encode
    monkeypatch.setattr(decoder.decoder, "encode", lambda prompt: go.wait(10.0) and encode(prompt))

    async def both():
        text = asyncio.create_task(ask.ask("POST", PATH, ASKED))
        began = time.monotonic()
        models = await ask.ask("GET", "/v1/models")
        waited = time.monotonic() - began
        assert not text.done()
        go.set()
        return models.status, waited, (await text).status

    models, waited, text = asyncio.run(asyncio.wait_for(both(), 20.0))
    assert (models, text) == (200, 200)
    assert waited < 5.0


class Broken:
    def encode(self, prompt):
        raise TypeError(f"cannot encode {prompt!r}")


def test_a_tokenizer_that_fails_says_where_and_not_on_what(decoder, ask):
    object.__setattr__(decoder.decoder.target, "codec", Broken())  # a frozen one
    with capture_logs() as logs:
        found = ask("POST", PATH, ASKED)
    assert found.status == 500
    assert "rain" not in found.body.decode()
    assert logs[0]["error"] == "TypeError"
    assert "encode" in logs[0]["at"][-1]
    assert "rain" not in str(logs)


def test_a_text_that_cannot_fit_is_not_encoded(decoder, ask, monkeypatch):
    object.__setattr__(decoder.decoder.target, "max_context", 10)  # a frozen one
    monkeypatch.setattr(decoder.decoder, "encode", None)  # not called
    found = ask("POST", PATH, {"prompt": "x" * 321})
    assert found.status == 400
    assert "the prompt has 321 characters" in found.json["error"]["message"]


def test_while_a_model_loads_the_server_says_so(client):
    ask = client(create_app(ServedModel("toys")))
    health = ask("GET", "/health")
    assert (health.status, health.json["status"]) == (503, "loading")
    found = ask("POST", PATH, ASKED)
    assert (found.status, found.json["error"]["code"], found.headers["retry-after"]) == (503, "loading", "2")
    assert ask("GET", "/v1/models").status == 200


def test_a_client_that_does_not_read_is_given_up():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async def stuck(message):
        await asyncio.Event().wait()

    async def nothing():
        return {"type": "http.disconnect"}

    admission, statuses = Admission(), []
    guarded = AdmissionMiddleware(app, admission, statuses.append, stalled_s=0.05)
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
    with capture_logs() as logs:
        asyncio.run(asyncio.wait_for(guarded(scope, nothing, stuck), 10.0))
    assert [line["event"] for line in logs] == ["client_stalled"]
    assert (admission.in_flight, statuses) == (0, [200])
