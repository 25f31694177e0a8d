"""Signals are numbers about the draft's distribution, computed only where they are asked for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.torch.logits import token_signals
from paceline.backends.transformers import HfDraft
from paceline.core.proposals import DraftControl
from paceline.core.records import SIGNALS, StopRule

from ..tiny_models import tiny_model

torch.set_num_threads(1)

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=9)


@settings(deadline=None)
@given(LOGITS)
def test_signals_follow_their_definitions(logits):
    total = math.fsum(math.exp(x) for x in logits)
    shares = sorted((math.exp(x) / total for x in logits), reverse=True)
    drawn = len(logits) // 2
    found = token_signals(torch.tensor(logits), torch.tensor([drawn]), 4, SIGNALS)
    assert found.position == 4
    assert found.token == drawn
    assert found.prob == pytest.approx(math.exp(logits[drawn]) / total, abs=1e-5)
    assert found.top1 == pytest.approx(shares[0], abs=1e-5)
    assert found.margin == pytest.approx(shares[0] - shares[1], abs=1e-5)
    assert found.entropy == pytest.approx(-math.fsum(p * math.log(p) for p in shares if p), abs=1e-4)


@pytest.mark.parametrize("wanted", [(), ("top1",), ("margin",), ("entropy", "margin"), ("prob", "token")])
def test_only_what_was_asked_for_is_there(wanted):
    found = token_signals(torch.tensor([1.0, 2.0]), torch.tensor([1]), 0, frozenset(wanted))
    assert {name for name in SIGNALS if getattr(found, name) is not None} == set(wanted)


def test_the_token_that_stops_the_draft_stays():
    draft = HfDraft(tiny_model("llama"))
    free = draft.open([3, 4]).draft(8, DraftControl(SIGNALS))
    assert len(free.signals) == len(free) == 8
    levels = [signal.margin for signal in free.signals]
    rule = StopRule("margin", below=sorted(levels)[2])
    first = next(index for index, level in enumerate(levels) if level < rule.below)
    stopped = draft.open([3, 4]).draft(8, DraftControl(SIGNALS, rule))
    assert stopped.tokens == free.tokens[: first + 1]
    assert stopped.signals == free.signals[: first + 1]


def test_watching_does_not_change_what_is_drafted():
    draft = HfDraft(tiny_model("llama"))
    assert draft.open([5]).draft(6, DraftControl(SIGNALS)).tokens == draft.open([5]).draft(6, None).tokens
    assert draft.open([5]).draft(6, None).signals == ()


def test_nothing_leaves_the_device_between_tokens_unless_watched(monkeypatch):
    session = HfDraft(tiny_model("llama")).open([5, 6])
    copies = []
    plain = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: copies.append(self.shape) or plain(self))
    session.draft(6, None)
    assert len(copies) == 1
