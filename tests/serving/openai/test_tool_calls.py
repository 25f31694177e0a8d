"""Calls of tools, as families of models write them and as OpenAI's clients read them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import AsyncDecoder, Capabilities, SpeculativeDecoder, load_config, verify_greedy
from paceline.serving import ServedModel, create_app
from paceline.serving.openai.tool_calls import FORMS, ToolCall, ToolCallReader, form_of

HERMES, MISTRAL, LLAMA = FORMS
NAMES = frozenset({"weather", "time"})  # as the server gives them
ROME = ToolCall("weather", '{"city": "Rome"}')
NOW = ToolCall("time", "{}")
CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'


def read(form, text, cuts=(), names=NAMES):
    reader = ToolCallReader(form, names)
    ends = sorted({cut % (len(text) + 1) for cut in cuts})
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    parts = [part for piece in pieces for part in reader.push(piece)] + reader.finish()
    joined = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    assert reader.called == any(isinstance(part, ToolCall) for part in parts)
    return joined


WRITTEN = [
    (HERMES, f"<tool_call>\n{CALL}\n</tool_call>", [ROME]),
    (HERMES, f"Let me look.\n\n<tool_call>{CALL}</tool_call>", ["Let me look.", ROME]),
    (
        HERMES,
        f'<tool_call>{CALL}</tool_call>\n<tool_call>{{"name": "time", "arguments": {{}}}}</tool_call>\n',
        [ROME, NOW],
    ),
    (HERMES, f"<tool_call>{CALL}", [ROME]),  # the end of the text ends the call
    (LLAMA, '{"name": "weather", "parameters": {"city": "Rome"}}', [ROME]),
    (LLAMA, f'<|python_tag|>{CALL}; {{"name": "time", "parameters": {{}}}}', [ROME, NOW]),
    (MISTRAL, f"[TOOL_CALLS][{CALL}]", [ROME]),
    (MISTRAL, f' [{CALL}, {{"name": "time"}}]', [ROME, NOW]),
    (MISTRAL, f"I see. [TOOL_CALLS] [{CALL}]", ["I see.", ROME]),
]
TEXTS = [
    (HERMES, '<tool_call>{"name": "weather", "arguments": {"city": </tool_call> so'),
    (HERMES, "<tool_call>\n<function=weather></function>\n</tool_call>"),
    (HERMES, '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'),  # nobody offered that
    (HERMES, '<tool_call>{"name": "time", "arguments": "now"}</tool_call>'),
    (HERMES, '<tool_call>{"name": ["time"], "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"zone": NaN}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"zone": 1e999}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"zone": "\\ud800"}}</tool_call>'),
    (HERMES, f'<tool_call>{{"name": "time", "arguments": {"[" * 9999}</tool_call>'),
    (HERMES, "  a < b, <tool> and <tool_call"),
    (HERMES, CALL),
    (LLAMA, '{"name": "Rome", "parameters": {}}'),
    (LLAMA, '{"name": "time", "parameters": {}} is what I would call'),
    (LLAMA, 'In JSON: {"name": "time", "parameters": {}}'),
    (MISTRAL, "[1, 2, 3]"),
    (None, f"<tool_call>{CALL}</tool_call>"),
]


@pytest.mark.parametrize(("form", "text", "parts"), WRITTEN)
@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 200)))
def test_calls_are_found_however_the_text_is_cut(form, text, parts, cuts):
    assert read(form, text, cuts) == parts


@pytest.mark.parametrize(("form", "text"), TEXTS)
@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 200)))
def test_what_is_no_call_stays_the_text_that_it_is(form, text, cuts):
    assert read(form, text, cuts) == [text]


@settings(deadline=None)
@given(
    form=st.sampled_from(FORMS),
    pieces=st.lists(
        st.sampled_from(
            [
                "<tool_call>",
                "</tool_call>",
                "[TOOL_CALLS]",
                "<|python_tag|>",
                CALL,
                "[",
                "]",
                " ",
                "\n",
                "a",
                "<t",
                "{",
            ]
        )
    ),
    cuts=st.lists(st.integers(0, 400)),
)
def test_cuts_change_nothing_and_no_word_is_lost(form, pieces, cuts):
    text = "".join(pieces)
    parts = read(form, text, cuts)
    assert parts == read(form, text)
    if not any(isinstance(part, ToolCall) for part in parts):
        assert "".join(parts) == text
    assert read(form, text, cuts, names=()) == ([text] if text else [])


def test_the_chat_template_tells_the_form():
    assert form_of("{{ '<tool_call>' }}") is HERMES
    assert form_of("{{ '[TOOL_CALLS]' }}") is MISTRAL
    assert form_of("<|python_tag|>") is LLAMA
    assert form_of("{{ messages }}") is form_of(None) is None


class Characters:
    """A tokenizer of single characters."""

    chat_template = "<tool_call>"

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(chr(token) for token in tokens if token)

    def encode_chat(self, messages, options):
        return self.encode(json.dumps([messages, options]))


class Scripted:
    """A target that says the same to everybody."""

    capabilities = Capabilities()
    codec = Characters()
    vocabulary = 128
    eos = frozenset({0})
    max_context = None

    def __init__(self, text):
        self.text = text

    def open(self, prompt):
        return ScriptedSession([*self.codec.encode(self.text), 0])


class ScriptedSession:
    def __init__(self, tokens):
        self.tokens = tokens

    def verify(self, proposal):
        drafted = () if proposal is None else proposal.tokens
        return verify_greedy(drafted, self.tokens[: len(drafted) + 1])

    def advance(self, tokens):
        del self.tokens[: len(tokens)]

    def close(self):
        pass


@pytest.fixture
def saying(client):
    """Return what serves a target that says a text."""
    decoders = []

    def served(text):
        run = load_config({"target": "toy", "drafts": {"lookup": "prompt-lookup"}, "policy": "auto"})
        drafts = {"lookup": run.drafts["lookup"].build_draft(Scripted(text))}
        decoders.append(AsyncDecoder(SpeculativeDecoder(Scripted(text), drafts, run.policy.build(0))))
        return client(create_app(ServedModel("toys", decoders[-1])))

    yield served
    for decoder in decoders:
        decoder.close()


ASKED = {
    "messages": [{"role": "user", "content": "How is the weather?"}],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    "max_tokens": 200,
}
SAID = f"Let me look.\n<tool_call>\n{CALL}\n</tool_call>"


def test_a_call_comes_back_as_a_call(saying):
    answer = saying(SAID)("POST", "/v1/chat/completions", ASKED).json
    (choice,) = answer["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["message"]["content"] == "Let me look."
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert (len(call["id"]), call["type"], choice["finish_reason"]) == (9, "function", "tool_calls")
    bare = saying(SAID.partition("\n")[2])("POST", "/v1/chat/completions", ASKED).json["choices"][0][
        "message"
    ]
    assert bare["content"] is None
    assert len(bare["tool_calls"]) == 1


def test_a_call_comes_in_one_piece_of_a_stream(saying):
    events = saying(SAID)("POST", "/v1/chat/completions", ASKED | {"stream": True}).events
    deltas = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content", "") for delta in deltas) == "Let me look."
    ((call,),) = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert (call["index"], call["function"]["name"]) == (0, "weather")
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("change", [{"tools": []}, {"tool_choice": "none"}, {"max_tokens": 30}])
def test_without_tools_or_cut_short_it_is_text(saying, change):
    (choice,) = saying(SAID)("POST", "/v1/chat/completions", ASKED | change).json["choices"]
    assert SAID.startswith(choice["message"]["content"])
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == ("length" if "max_tokens" in change else "stop")
