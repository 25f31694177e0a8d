"""Recordings through the real loop, which is what replay must be equal to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paceline.core.costs import LiveCosts
from paceline.lab.recording.memory import TextsInMemory
from paceline.lab.recording.model import Recording
from paceline.lab.replay.kernel import Player
from paceline.lab.replay.laid import Laid
from paceline.lab.replay.sessions import TextClock, recorded_decoder

END = 10
"""Ends made-up texts and occurs nowhere else in them."""


def really(recording, policy):
    """Return the rounds of every text under the real loop, one decoder after the other."""
    clock, costs, found = TextClock(recording.header.costs), LiveCosts(), []
    for text in recording:
        decoder = recorded_decoder(recording.header, text, policy, clock=clock, costs=costs)
        prompt = text.prompt or [1] * text.prompt_tokens
        found.append(list(decoder.rounds(prompt)))
    return found


def quickly(recording, policy):
    """Return the rounds of every text under the kernel."""
    found: list[Any] = []

    def note(done):
        found[-1].append(done)

    player = Player(recording.header, policy, on_round=note)
    for text in recording:
        found.append([])
        player.play(Laid(text, recording.header.drafts))
    return found


def ending(recording):
    """Return the recording with a token of its own at the end of texts that such a token ended."""
    texts = [
        replace(text, tokens=(*text.tokens[:-1], END)) if text.ended == "eos" else text for text in recording
    ]
    return Recording(recording.header, (), TextsInMemory(texts))


@pytest.fixture(scope="session")
def both() -> Callable[..., Any]:
    """Return both ways to play a recording under policies built alike, after checking that they are equal."""

    def play(recording, build):
        recording = ending(recording)
        slow, fast = really(recording, build()), quickly(recording, build())
        assert fast == slow
        return fast

    return play
