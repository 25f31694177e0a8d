"""Prompts of every form become tokens; what cannot is told with the place it is from."""

from dataclasses import dataclass

import pytest

from paceline.backends.toy import Letters, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.workloads.prompts import Prompt, Text, encoded

MESSAGES = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]


@dataclass
class Chatty(Letters):
    """A codec with a chat template: each content behind the first letter of its role."""

    def encode_chat(self, messages, options):
        if messages[0]["role"] == "tool":
            raise BackendError("no tools here")
        text = "".join(message["role"][0] + message["content"] for message in messages)
        return self.encode(text + options.get("end", ""))


def decoder(codec):
    return SpeculativeDecoder(ToyTarget(codec=codec), {}, ScriptedPolicy([0]))


def test_texts_tokens_and_conversations_become_prompts():
    texts = [
        Text("x", "k", "a b"),
        Text("y", "k", tokens=(3, 1)),
        Text("z", "k", messages=MESSAGES, options={"end": "d"}),
    ]
    letters = Letters()
    assert [encoded(text, decoder(Chatty()), "w") for text in texts] == [
        Prompt("x", "k", tuple(letters.encode("a b"))),
        Prompt("y", "k", (3, 1)),
        Prompt("z", "k", tuple(letters.encode("ua bacd"))),
    ]


@pytest.mark.parametrize(("where", "place"), [("p.jsonl:7", "p.jsonl:7"), (None, "chat")])
def test_a_conversation_for_a_target_without_a_chat_template_is_an_error_with_place_and_remedy(where, place):
    text = Text("z", "k", messages=MESSAGES, where=where)
    with pytest.raises(BackendError) as caught:
        encoded(text, decoder(Letters()), "chat")
    assert str(caught.value).startswith(f"{place}: the prompt 'z': the target has no chat template")
    assert "give the prompt as text, or a target that was trained for conversations" in str(caught.value)


def test_what_a_template_refuses_is_told_with_its_place():
    text = Text("z", "k", messages=[{"role": "tool"}], where="p.jsonl:2")
    with pytest.raises(BackendError, match=r"^p\.jsonl:2: the prompt 'z': no tools here$"):
        encoded(text, decoder(Chatty()), "p.jsonl")
