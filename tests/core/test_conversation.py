"""Conversations: their history, answers that are cut, and text that comes in bursts."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError, TargetError
from paceline.core.sampling import Sampling
from paceline.core.streaming import UNFINISHED
from paceline.core.testing.doubles import ScriptedPolicy

END = 256
ROLES = {"system": 1, "user": 2, "assistant": 3, "tool": 4}
ANSWER = 3


class Bytes:
    """One byte, one token; messages are set apart by the number of their role."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, tokens):
        return bytes(token for token in tokens if token != END).decode("utf-8", errors="replace")

    def encode_chat(self, messages, options):
        if any("content" not in message for message in messages):
            raise BackendError("a message without content")
        written = [[ROLES[message["role"]], *message["content"].encode()] for message in messages]
        return [*str(sorted(options)).encode(), *(token for text in written for token in text), ANSWER]


@dataclass(frozen=True)
class Scribe(ToyTarget):
    """A target that answers each message with a text that is laid down, or repeats the message."""

    answers: dict = field(default_factory=dict, hash=False)
    codec: Bytes = field(default_factory=Bytes)
    vocabulary: int = END + 1

    eos: ClassVar = frozenset({END})

    def __post_init__(self):
        pass

    def next(self, context):
        begin = len(context) - 1 - context[::-1].index(ANSWER)
        asked = next(at for at in range(begin - 1, -1, -1) if context[at] in {2, 4})
        message = bytes(context[asked + 1 : begin]).decode()
        written = [*self.answers.get(message, message).encode(), END]
        return written[min(len(context) - begin - 1, len(written) - 1)]


def decoder_of(answers=None, gammas=(3,), **options):
    target = Scribe(answers=answers or {})
    draft = ToyDraft(target, agreement=0.8)
    return SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy(list(gammas)), **options)


def test_a_conversation_remembers_what_was_said():
    decoder = decoder_of({"hello": "good day"})
    conversation = decoder.conversation("be brief", template={"tools": []})
    answer = conversation.say("hello")
    assert (answer.text, answer.ended) == ("good day", "eos")
    assert "".join(conversation.stream("again")) == "again"
    assert conversation.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "good day"},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "again"},
    ]


def test_messages_of_tools_and_further_fields_reach_the_template():
    seen = []

    class Listening(Bytes):
        def encode_chat(self, messages, options):
            seen.append((messages, options))
            return super().encode_chat(messages, options)

    decoder = decoder_of()
    decoder.target = replace(decoder.target, codec=Listening())
    tools = [{"type": "function", "function": {"name": "clock"}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "clock"}], "reasoning_content": "hm"}
    conversation = decoder.conversation(template={"tools": tools})
    conversation.messages += [{"role": "user", "content": "time?"}, call]
    assert conversation.say({"role": "tool", "name": "clock", "content": "noon"}).text == "noon"
    messages, options = seen[-1]
    assert messages[1] == call
    assert messages[2]["name"] == "clock"
    assert options == {"tools": tools}


def test_chat_answers_the_messages_it_is_given():
    decoder = decoder_of({"hello": "good day"})
    messages = [{"role": "user", "content": "hello"}]
    heard = []
    answer = decoder.chat(messages, template={"tools": []}, max_new_tokens=4, on_round=heard.append)
    assert (answer.text, answer.ended) == ("good", "length")
    assert sum(done.emitted for done in heard) == 4
    assert messages == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("taken", [1, 2])
def test_an_answer_that_is_left_stays_as_far_as_it_was_delivered(taken):
    conversation = decoder_of({"hello": "good day to you all"}).conversation()
    rounds = conversation.rounds("hello")
    tokens = [token for _ in range(taken) for token in next(rounds).tokens]
    rounds.close()
    assert conversation.messages[-1] == {"role": "assistant", "content": bytes(tokens).decode()}
    assert conversation.say("and?").text == "and?"
    assert len(conversation.messages) == 4


def test_a_turn_of_which_nothing_was_delivered_was_not_taken():
    conversation = decoder_of().conversation()
    conversation.rounds("hello").close()
    with pytest.raises(BackendError, match="without content"):
        conversation.say({"role": "user"})

    def stop(output):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.say("hello", stop=[stop])
    assert conversation.messages == []


def test_an_interrupted_answer_stays_too():
    conversation = decoder_of({"hello": "good day to you all"}).conversation()

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.say("hello", on_round=stop)
    said = conversation.messages[-1]["content"]
    assert said
    assert "good day to you all".startswith(said)


def test_a_target_that_fails_leaves_what_it_delivered(monkeypatch):
    conversation = decoder_of({"hello": "good day"}, gammas=[0]).conversation()
    rounds = conversation.rounds("hello")
    next(rounds)
    monkeypatch.setattr(Scribe, "next", lambda *_: 1 / 0)
    with pytest.raises(TargetError):
        next(rounds)
    monkeypatch.undo()
    assert conversation.messages[-1]["content"] == "g"
    assert conversation.say("go on").text == "go on"


def test_half_a_character_at_the_end_of_an_answer_is_not_remembered():
    conversation = decoder_of({"smile": "ok 🙂"}).conversation(max_new_tokens=5)
    assert conversation.say("smile").text == f"ok {UNFINISHED}"
    assert conversation.messages[-1]["content"] == "ok "


def test_two_answers_at_once_are_refused():
    conversation = decoder_of({"a": "a long answer"}, interleaved=True).conversation()
    first, second = conversation.rounds("a"), conversation.rounds("b")
    next(first)
    with pytest.raises(CapabilityError, match="in the middle of another answer"):
        next(second)
    first.close()
    late = conversation.rounds("late")
    conversation.say("before")
    with pytest.raises(CapabilityError, match="has gone on since"):
        next(late)
    assert [message["content"] for message in conversation.messages[::2]] == ["a", "before"]


def test_the_last_turn_can_be_taken_back_and_tried_again():
    conversation = decoder_of({"hello": "good day"}).conversation("be brief")
    with pytest.raises(CapabilityError, match="nothing was said yet"):
        conversation.retry()
    assert conversation.undo() is None
    conversation.say("first")
    conversation.say("hello")
    assert conversation.retry().text == "good day"
    assert conversation.undo() == {"role": "user", "content": "hello"}
    assert [message["content"] for message in conversation.messages] == ["be brief", "first", "first"]


def test_an_answer_tried_again_is_drawn_with_another_seed_and_others_with_their_own():
    seeds = []

    class Watched(Scribe):
        def open_sampled(self, prompt, sampling):
            seeds.append(sampling.seed)
            return super().open(prompt)

    sampling = Sampling(temperature=1.0, seed=7)
    decoder = SpeculativeDecoder(Watched(), {}, ScriptedPolicy([0]))
    conversation = decoder.conversation(sampling=sampling)
    conversation.say("one")
    conversation.retry()
    conversation.say("two")
    first, again, second = seeds
    assert first == second == sampling.of("target").seed
    assert again == replace(sampling, seed=8).of("target").seed


EMOJI = "a🙂é👩‍👩‍👧 e\u0301\u20ac"

answers = st.text(alphabet=EMOJI, min_size=1, max_size=12) | st.sampled_from(["a", "🙂", "ab", "é", "naïve"])


@settings(deadline=None, max_examples=150)
@given(
    answer=answers,
    gammas=st.lists(st.sampled_from([0, 1, 4]), min_size=1, max_size=4),
    cut=st.integers(0, 3),
    data=st.data(),
)
def test_characters_and_stop_strings_survive_bursts(answer, gammas, cut, data):
    begin = data.draw(st.integers(0, len(answer) - 1))
    stop = data.draw(st.none() | st.just(answer[begin : begin + 1 + cut]) | st.just(answer + "more"))
    decoder = decoder_of({"q": answer}, gammas)
    pieces = list(decoder.conversation().stream("q", stop=() if stop is None else (stop,)))
    end = len(answer) if stop is None or stop not in answer else answer.index(stop) + len(stop)

    assert "".join(pieces) == answer[:end]
    assert not any(UNFINISHED in piece for piece in pieces)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("gamma", [0, 1, 5])
def test_short_answers_are_whole(length, gamma):
    answer = "🙂hello"[:length]
    conversation = decoder_of({"q": answer}, [gamma]).conversation()
    assert "".join(conversation.stream("q")) == answer
    assert conversation.messages[-1]["content"] == answer


def test_a_stop_text_that_begins_like_the_answer_ends_nothing_before_it_is_whole():
    conversation = decoder_of({"q": "<tool>x</tool> and more"}, [5]).conversation(stop=["</tool>", "<tools"])
    assert conversation.say("q").text == "<tool>x</tool>"
