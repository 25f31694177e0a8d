"""The HTTP interface as OpenAI's clients see it, in process and without Ray."""

import threading
from itertools import chain
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline import (
    BackendError,
    Capabilities,
    FusedCosts,
    LogitBias,
    Plan,
    RoundStart,
    Sampling,
    TextStream,
    finish_round,
)
from paceline.backends.toy_sessions import ToyTargetSession
from paceline.serving import ServedModel, create_app
from paceline.serving.openai.responses import Completion

PROMPT = "the rain in spain"


def text_of(events):
    return "".join(event["choices"][0]["text"] for event in events if event["choices"])


def test_a_completion_is_the_text_of_the_decoder(ask, plain):
    found = ask("POST", "/v1/completions", {"model": "toys", "prompt": PROMPT, "max_tokens": 30})
    expected = plain.generate(PROMPT, max_new_tokens=30)
    assert found.status == 200
    assert found.json["choices"][0]["text"] == expected.text
    assert found.json["choices"][0]["finish_reason"] == "length"
    assert found.json["object"] == "text_completion"
    tokens = len(plain.encode(PROMPT))
    assert found.json["usage"] == {
        "prompt_tokens": tokens,
        "completion_tokens": 30,
        "total_tokens": tokens + 30,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {
            "accepted_prediction_tokens": expected.totals.accepted,
            "rejected_prediction_tokens": expected.totals.drafted - expected.totals.accepted,
        },
    }
    totals = expected.totals
    metrics = found.json["metrics"]["speculative_decoding"]
    assert metrics["num_draft_tokens"] == totals.drafted
    assert metrics["num_accepted_draft_tokens"] == totals.accepted
    histogram = metrics["acceptance_histogram"]
    assert sum(histogram) == metrics["num_spec_steps"] == sum(metrics["gammas"].values())
    assert sum(count * place for place, count in enumerate(histogram)) == totals.accepted
    assert metrics["mean_acceptance_length"] == 1 + totals.accepted / totals.rounds
    assert metrics["num_spec_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_of_the_prompt_in_a_kept_cache_are_told(ask, monkeypatch, stream):
    monkeypatch.setattr(ToyTargetSession, "cached_tokens", 3, raising=False)
    asked = {"prompt": PROMPT, "max_tokens": 5, "stream": stream}
    found = ask(
        "POST", "/v1/completions", asked | ({"stream_options": {"include_usage": True}} if stream else {})
    )
    usage = (found.events[-1] if stream else found.json)["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 3}
    assert usage["completion_tokens"] == 5


def test_a_stream_is_the_same_text_in_pieces(ask, plain):
    asked = {"prompt": PROMPT, "max_tokens": 30, "stream": True, "stream_options": {"include_usage": True}}
    events = ask("POST", "/v1/completions", asked).events
    assert text_of(events) == plain.generate(PROMPT, max_new_tokens=30).text
    assert len(events) > 4
    assert [event["choices"][0]["finish_reason"] for event in events[-3:-1]] == [None, "length"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 30
    assert len({event["id"] for event in events}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_ends_before_a_stop_string(ask, plain, stream):
    whole = plain.generate(PROMPT, max_new_tokens=30).text
    stop = whole[11:14]
    found = ask(
        "POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 30, "stop": stop, "stream": stream}
    )
    text = text_of(found.events) if stream else found.json["choices"][0]["text"]
    last = found.events[-1] if stream else found.json
    assert text == whole[: whole.index(stop)]
    assert last["choices"][0]["finish_reason"] == "stop"


def test_tokens_are_a_prompt_too(ask, plain):
    tokens = plain.encode(PROMPT)
    same = [ask("POST", "/v1/completions", {"prompt": prompt}).json for prompt in (PROMPT, tokens, [PROMPT])]
    assert len({one["choices"][0]["text"] for one in same}) == 1


@pytest.mark.parametrize(
    ("change", "status", "word", "param"),
    [
        ({"model": "gpt"}, 404, "there is no model 'gpt' here, only 'toys'", "model"),
        ({"n": 2}, 400, "n above 1 is not supported by this server; ask once for each text", "n"),
        ({"best_off": 2}, 400, "best_off is not a parameter of this server", "best_off"),
        ({"prompt": ""}, 400, "empty", None),
        ({"prompt": [1, 999]}, 400, "999", None),
        ({"prompt": ["a", "b"]}, 400, "several prompts are several requests", "prompt"),
        ({"max_tokens": 0}, 400, "max_tokens", "max_tokens"),
        ({"max_tokens": "5"}, 400, "max_tokens is a whole number from 1 to 1048576", "max_tokens"),
        ({"temperature": "0"}, 400, "temperature is a number from 0 to 100", "temperature"),
        ({"stream": 1}, 400, "stream is true or false", "stream"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty is not supported", "presence_penalty"),
        ({"logprobs": 3}, 400, "logprobs is not supported", "logprobs"),
        ({"temperature": "hot"}, 400, "temperature is a number from 0 to 100", "temperature"),
        ({"temperature": 1e-6}, 400, "temperature must be", None),
        ({"stop": ["x"] * 5}, 400, "stop is a text or up to 4", "stop"),
        ({"seed": 2**70}, 400, "seed is a whole number of 64 bits", "seed"),
        ({"max_tokens": 10**12}, 400, "max_tokens is a whole number from 1 to 1048576", "max_tokens"),
        (
            {"logit_bias": {"3": 101}},
            400,
            "logit_bias is an object with a bias from -100 to 100",
            "logit_bias",
        ),
        ({"logit_bias": {"rain": 1}}, 400, "tokens, by number", "logit_bias"),
        ({"logit_bias": {"-1": 1}}, 400, "tokens, by number", "logit_bias"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_openais_shape(ask, change, status, word, param):
    found = ask("POST", "/v1/completions", {"prompt": PROMPT, **change})
    assert found.status == status
    error = found.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize("change", [{"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.2}], ids=str)
def test_what_does_nothing_at_temperature_0_is_taken(ask, plain, change):
    found = ask("POST", "/v1/completions", {"prompt": PROMPT, "temperature": 0.0, "max_tokens": 20, **change})
    assert found.json["choices"][0]["text"] == plain.generate(PROMPT, max_new_tokens=20).text


def test_a_logit_bias_makes_tokens_likelier_or_impossible(ask, plain):
    biases = {"3": 100, "4": 100.0, "5": -100}
    answer = ask("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 20, "logit_bias": biases})
    bias = LogitBias({int(token): bias for token, bias in biases.items()})
    sampling = Sampling(temperature=0.0, processors=(bias,))
    text = plain.generate(PROMPT, max_new_tokens=20, sampling=sampling).text
    assert answer.json["choices"][0]["text"] == text
    assert set(text) == set(plain.decode([3, 4]))


def test_neutral_parameters_of_clients_are_taken(ask):
    extra = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "user": "me", "top_p": 1, "temperature": 0,
        "logit_bias": {}, "echo": False, "stop": None, "seed": None, "top_k": 7, "min_p": 0.1,
    }  # fmt: skip
    assert ask("POST", "/v1/completions", {"prompt": PROMPT, **extra}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/completions", b"{", 400),
        ("GET", "/v1/completions", None, 405),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_every_error_has_the_same_shape(ask, method, path, body, status):
    found = ask(method, path, body)
    assert found.status == status
    assert found.json["error"]["message"]


def test_a_wrong_method_is_told_the_right_one(ask):
    found = ask("GET", "/v1/completions")
    assert found.json["error"]["message"] == "GET is not allowed for /v1/completions; use POST"
    assert found.headers["allow"] == "POST"


def test_errors_of_a_stream_that_has_not_begun_have_a_status(ask):
    found = ask("POST", "/v1/completions", {"prompt": PROMPT, "stream": True, "model": "gpt"})
    assert found.status == 404


def test_the_model_is_listed(ask):
    assert [one["id"] for one in ask("GET", "/v1/models").json["data"]] == ["toys"]
    assert ask("GET", "/v1/models/toys").json["object"] == "model"
    assert ask("GET", "/v1/models/gpt").status == 404
    assert ask("GET", "/health").status == 200


def test_a_model_without_chat_template_says_so(ask):
    found = ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]})
    assert found.status == 400
    assert "no chat template" in found.json["error"]["message"]


class TemplatedCodec:
    """A tokenizer with a chat template."""

    def __init__(self, codec):
        self.encode, self.decode = codec.encode, codec.decode

    def encode_chat(self, messages, options):
        self.shown = (messages, options)
        if messages[0]["role"] == "tool":
            raise BackendError("no tools")
        return self.encode(" ".join(message["content"] for message in messages))


@pytest.fixture
def codec(decoder):
    """The tokenizer of the target, given a chat template."""
    target = decoder.decoder.target
    codec = TemplatedCodec(target.codec)
    object.__setattr__(target, "codec", codec)  # a frozen one
    return codec


@pytest.fixture
def chat(ask, codec):
    return ask


def test_a_conversation_goes_through_the_chat_template(chat, plain):
    parts = [{"type": "text", "text": "in spain"}]
    messages = [{"role": "system", "content": "the rain"}, {"role": "user", "content": parts}]
    found = chat("POST", "/v1/chat/completions", {"messages": messages, "max_completion_tokens": 20}).json
    expected = plain.generate(PROMPT, max_new_tokens=20).text
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"] == {"role": "assistant", "content": expected}
    asked = {"messages": messages, "max_tokens": 20, "stream": True}
    events = chat("POST", "/v1/chat/completions", asked).events
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == expected
    assert events[-1]["choices"][0]["delta"] == {}
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_what_a_chat_template_refuses_is_the_clients_error(chat):
    found = chat("POST", "/v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]})
    assert found.status == 400
    assert "no tools" in found.json["error"]["message"]


def test_the_chat_template_is_shown_tools_calls_and_reasoning(chat, codec):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    body = {
        "messages": [
            {"role": "user", "content": "hm"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call],
                "reasoning_content": "ask",
                "refusal": None,
            },
            {"role": "tool", "content": [{"type": "text", "text": "sunny"}], "tool_call_id": "1"},
        ],
        "tools": tools,
        "tool_choice": "auto",
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "max_tokens": 4,
    }
    assert chat("POST", "/v1/chat/completions", body).status == 200
    messages, options = codec.shown
    call["function"]["arguments"] = {"city": "Rome"}
    assert messages[1:] == [
        {"role": "assistant", "content": "", "reasoning_content": "ask", "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_call_id": "1"},
    ]
    assert options == {"tools": tools, "reasoning_effort": "low", "enable_thinking": False}
    chat("POST", "/v1/chat/completions", {**body, "tool_choice": "none"})
    assert "tools" not in codec.shown[1]


@pytest.mark.parametrize("key", ["chat_template", "tokenize", "tools", "return_tensors"])
def test_a_client_brings_no_chat_template_of_its_own(chat, key):
    body = {"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {key: "{{ 1 }}"}}
    assert chat("POST", "/v1/chat/completions", body).json["error"]["param"] == "chat_template_kwargs"


class Watched:
    """A decoder that decodes for ever and tells when it is let go."""

    def __init__(self, decoder):
        self._decoder = decoder
        self.decoder, self.encode = decoder.decoder, decoder.encode
        self.let_go = threading.Event()

    async def rounds(self, prompt, **options):
        try:
            while True:
                async for done in self._decoder.rounds(prompt, **options):
                    yield done
        finally:
            self.let_go.set()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_request(decoder, client, stream):
    watched = Watched(decoder)
    asked = {"prompt": PROMPT, "max_tokens": 5, "stream": stream}
    client(create_app(ServedModel("toys", watched)))(
        "POST", "/v1/completions", asked, leave_after=3 if stream else 0
    )
    assert watched.let_go.wait(10.0)


class Failing(Watched):
    async def rounds(self, prompt, **options):
        for _ in range(self.good):
            async for done in self._decoder.rounds(prompt, **options):
                yield done
                break
        raise RuntimeError("a secret of the server")


@pytest.mark.parametrize(("good", "stream"), [(0, False), (0, True), (1, False)])
def test_failures_of_the_server_are_logged_and_told_without_detail(decoder, client, good, stream):
    failing = Failing(decoder)
    failing.good = good
    with capture_logs() as logs:
        found = client(create_app(ServedModel("toys", failing)))(
            "POST", "/v1/completions", {"prompt": PROMPT, "stream": stream}
        )
    assert found.status == 500
    assert found.json["error"]["type"] == "server_error"
    assert b"secret" not in found.body
    (failed,) = [line for line in logs if line["event"] == "request_failed"]
    assert "a secret" in failed["error"]


def test_failures_amid_a_stream_are_told_in_it(decoder, client):
    failing = Failing(decoder)
    failing.good = 1
    with capture_logs():
        found = client(create_app(ServedModel("toys", failing)))(
            "POST", "/v1/completions", {"prompt": PROMPT, "stream": True}
        )
    assert found.status == 200
    assert found.events[-1]["error"]["type"] == "server_error"


def test_drawn_texts_follow_from_the_seed_and_differ_without(ask):
    def text(**options):
        asked = {"prompt": PROMPT, "temperature": 1.0, "max_tokens": 30, **options}
        return ask("POST", "/v1/completions", asked).json["choices"][0]["text"]

    assert text(seed=5) == text(seed=5)
    assert len({text() for _ in range(4)}) > 1


class Letters:
    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


class Utf8:
    """One byte, one token."""

    def decode(self, tokens):
        return bytes(tokens).decode("utf-8", errors="replace")


class Bursts:
    """A decoder that writes given bytes, so many a round."""

    def __init__(self, decoder, text, sizes):
        self.decoder = SimpleNamespace(
            sampling=decoder.decoder.sampling, stop=(), text_stream=lambda: TextStream(Utf8())
        )
        self.encode = decoder.encode
        self._text, self._sizes = text.encode(), sizes

    async def rounds(self, prompt, **options):
        at = 0
        for size in self._sizes:
            tokens = self._text[at : at + size]
            at += size
            ended = "length" if at >= len(self._text) else None
            yield finish_round(START, Plan(0), 0, 0, tuple(tokens), ended, 0.0, 1.0, 1.0)


pieces = st.sampled_from(["a", "é", "🙂", "👩‍🚀", "STO", "STOP", " "])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(pieces, min_size=1, max_size=12).map("".join),
    st.lists(st.sampled_from([1, 2, 5, 9]), min_size=90),
)
def test_bursts_over_a_stream_split_no_character_and_show_no_part_of_a_stop_string(
    decoder, client, text, sizes
):
    ask = client(create_app(ServedModel("toys", Bursts(decoder, text, sizes))))
    events = ask("POST", "/v1/completions", {"prompt": "x", "stop": "STOP", "stream": True}).events
    shown = [event["choices"][0]["text"] for event in events]
    assert "".join(shown) == text.partition("STOP")[0]
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in shown)


START = RoundStart(0, 0, 1, 99, {}, FusedCosts().of(1), Capabilities())


def said(text, ended=None):
    return finish_round(START, Plan(0), 0, 0, tuple(map(ord, text)), ended, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_stop_string_is_found_across_pieces_and_never_shown_in_part(size):
    text = "one END0 two ENENDE three"
    completion = Completion(TextStream(Letters()), ["ENDE", "ENDX"], 1, 0.0)
    shown = [completion.add(said(text[place : place + size])) for place in range(0, len(text), size)]
    assert "".join(chain(*shown, completion.finish())) == "one END0 two EN"
    assert completion.reason == "stop"


def test_what_might_have_become_a_stop_string_is_shown_in_the_end():
    completion = Completion(TextStream(Letters()), ["ENDE"], 1, 0.0)
    assert completion.add(said("the END", "length")) == ["the "]
    assert completion.finish() == ["END"]
    assert completion.reason == "length"
