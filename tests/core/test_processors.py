"""Processors change a row of any kind of array, leave what they were given as it was, and must answer with a row."""

import math

import numpy as np
import pytest
import torch

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError
from paceline.core.processors import AllowedTokens, DraftProcessor, LogitBias, process_row
from paceline.core.records import Capabilities
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import ScriptedPolicy

KINDS = {"list": list, "numpy": np.array, "torch": torch.tensor}
NEVER = -math.inf


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (LogitBias({0: 2.0, 2: NEVER, 99: 1.0}), [3.0, 2.0, NEVER]),
        (AllowedTokens(lambda tokens: [tokens[-1], 0, 99]), [1.0, 2.0, NEVER]),
        (AllowedTokens(lambda tokens: None), [1.0, 2.0, 3.0]),
        (AllowedTokens(lambda tokens: iter([2])), [NEVER, NEVER, 3.0]),
        (lambda tokens, logits: logits, [1.0, 2.0, 3.0]),
    ],
    ids=["bias", "allowed", "all", "iterator", "function"],
)
def test_a_row_comes_back_changed_in_its_own_kind_and_the_old_one_stays(kind, processor, expected):
    row = KINDS[kind]([1.0, 2.0, 3.0])
    answer = process_row([processor], [5, 1], row)
    assert type(answer) is type(row)
    assert list(answer) == expected
    assert list(row) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("biases", [{-1: 0.0}, {0: math.inf}, {0: math.nan}], ids=str)
def test_a_bias_that_means_nothing_is_refused(biases):
    with pytest.raises(ValueError, match="a bias is a number or minus infinity"):
        LogitBias(biases)


@pytest.mark.parametrize("processors", [None, 3, LogitBias({}), (LogitBias({}), 3)], ids=str)
def test_processors_that_are_no_functions_are_refused(processors):
    with pytest.raises(ValueError, match="processors must be a tuple of functions, found"):
        Sampling(processors=processors)


def test_settings_with_processors_are_values_like_others():
    def every(tokens):
        return None

    left, right = (Sampling(processors=(LogitBias({3: 1.0}), AllowedTokens(every))) for _ in range(2))
    assert left == right
    assert hash(left) == hash(right)
    assert left.of("target").processors == left.processors
    assert not Sampling(temperature=0.0, processors=left.processors).plain


def unruly(tokens, logits):
    raise KeyError("verb")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (lambda tokens, logits: None, "returned NoneType for a row of 3 logits"),
        (lambda tokens, logits: logits[:2], "let it return a .* of the same length"),
        (AllowedTokens(lambda tokens: []), "AllowedTokens .* leaves no token that could follow 2 tokens"),
        (AllowedTokens(lambda tokens: [-1]), "leaves no token"),
        (LogitBias(dict.fromkeys(range(3), NEVER)), "LogitBias .* leaves no token"),
        (unruly, r"unruly \(.*test_processors\) failed after 2 tokens .*: KeyError\('verb'\)"),
        (AllowedTokens(lambda tokens: 5), "AllowedTokens .* failed after 2 tokens .*not iterable"),
    ],
    ids=["none", "short", "empty", "negative", "forbidden", "raised", "number"],
)
def test_a_failure_an_answer_that_is_no_row_and_no_choice_name_the_processor(kind, processor, message):
    with pytest.raises(BackendError, match=message):
        process_row([processor], [5, 1], KINDS[kind]([1.0, 2.0, 3.0]))


def test_one_that_a_draft_applies_is_named_as_it_was_given():
    with pytest.raises(BackendError, match=r"processor unruly \("):
        process_row([DraftProcessor(unruly)], [5, 1], [1.0])


def test_a_draft_that_has_none_of_the_tokens_left_goes_on_as_without_the_processor():
    beyond = DraftProcessor(AllowedTokens(lambda tokens: [7]))
    assert beyond([], [1.0, 2.0]) == [1.0, 2.0]
    assert beyond([], [0.0] * 9)[7] == 0.0
    assert beyond([], [0.0] * 9)[6] == NEVER


def test_a_target_that_applies_none_is_refused_before_the_first_token():
    target = ToyTarget(capabilities=Capabilities(sampling=True))
    biased = Sampling(processors=(LogitBias({3: 1.0}),))
    with pytest.raises(CapabilityError, match="applies no logits processors"):
        SpeculativeDecoder(target, {}, ScriptedPolicy([0]), sampling=biased)
    decoder = SpeculativeDecoder(target, {}, ScriptedPolicy([0]))
    with pytest.raises(CapabilityError, match="leave them out, or use an engine that does"):
        decoder.rounds([3], sampling=biased)
    with pytest.raises(CapabilityError, match="repetition_penalty and processors"):
        SpeculativeDecoder(ToyTarget(capabilities=Capabilities()), {}, ScriptedPolicy([0]), sampling=biased)


def test_what_goes_wrong_in_a_processor_ends_the_request_with_what_was_delivered():
    def three(tokens):
        return [3] if len(tokens) < 4 else []

    target = ToyTarget()
    decoder = SpeculativeDecoder(target, {"draft": ToyDraft(target)}, ScriptedPolicy([0]))
    with pytest.raises(BackendError, match="leaves no token") as caught:
        decoder.generate([1], sampling=Sampling(temperature=0.0, processors=(AllowedTokens(three),)))
    assert caught.value.delivered == (3, 3, 3)


def test_drafts_apply_them_too_so_that_fewer_tokens_are_refused():
    target = ToyTarget()
    other = Sampling(temperature=0.0, processors=(AllowedTokens(lambda tokens: {1 + len(tokens) % 7}),))

    class Without:
        signals = ToyDraft.signals

        def open(self, prompt):
            return ToyDraft(target).open(prompt)

    def acceptance(draft):
        decoder = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([3]), sampling=other)
        return decoder.generate([3], max_new_tokens=60).totals.acceptance

    assert acceptance(ToyDraft(target)) == 1.0
    assert acceptance(Without()) < 0.3
