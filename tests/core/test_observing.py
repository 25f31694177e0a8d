"""Observers see every request from start to end, and none of their failures reaches a text."""

import pytest
from structlog.testing import capture_logs

from paceline import load_config

RUN = {
    "target": {"backend": "toy", "seed": 7},
    "drafts": {"small": {"backend": "toy", "agreement": 0.8}},
    "policy": {"name": "static", "gamma": 3},
    "generation": {"max_new_tokens": 20},
}
PROMPT = "the rain"


class Notes:
    """Writes down what it is shown."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def on_start(self, request):
        self.lines.append(("start", request.prompt_tokens))

    def on_round(self, request, done):
        assert request.tally.totals().rounds == done.index + 1
        self.lines.append(("round", done))

    def on_end(self, request, error):
        self.lines.append(("end", request.tally.ended, error and type(error)))


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def decoder(notes):
    return load_config(RUN).build(observer=notes)


def test_start_every_round_and_the_end_are_seen_in_order(decoder, notes):
    rounds = list(decoder.rounds(PROMPT))
    assert notes.lines == [("start", 8), *(("round", done) for done in rounds), ("end", "length", None)]


def test_a_request_that_is_abandoned_ends_without_a_reason(decoder, notes):
    rounds = decoder.rounds(PROMPT)
    next(rounds)
    rounds.close()
    assert notes.lines[-1] == ("end", None, None)


def test_an_error_is_shown_to_the_observer_and_raised(decoder, notes, monkeypatch):
    monkeypatch.setattr(decoder.policy, "plan", lambda start: 1 / 0)
    with pytest.raises(Exception, match="plan"):
        decoder.generate(PROMPT)
    assert notes.lines[-1][2].__name__ == "ContractError"


@pytest.mark.parametrize("method", ["on_start", "on_round", "on_end"])
def test_an_observer_that_fails_is_left_alone_from_then_on(decoder, notes, monkeypatch, method):
    expected = load_config(RUN).build().generate(PROMPT).tokens

    def failing(*_shown):
        calls.append(method)
        raise RuntimeError("full disk")

    calls: list[str] = []
    monkeypatch.setattr(notes, method, failing)
    with capture_logs() as logs:
        assert [decoder.generate(PROMPT).tokens for _ in range(2)] == [expected, expected]
    assert len(calls) == 1
    assert [line["event"] for line in logs] == ["observer_failed"]
    assert "full disk" in logs[0]["error"]
