"""The toy pair."""

import pytest

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyConfig, ToyTarget
from paceline.core.errors import BackendError
from paceline.core.proposals import DraftControl, verify_greedy
from paceline.core.records import StopRule


def agreement_of(agreement, *, contexts=2000):
    target = ToyConfig().build_target()
    draft = ToyConfig(agreement=agreement).build_draft(target)
    context = [5]
    hits = 0
    for _ in range(contexts):
        token = target.next(context)
        hits += draft.guess(context)[0] == token
        context.append(token)
    return hits / contexts


@pytest.mark.parametrize("agreement", [0.0, 0.3, 0.8, 1.0])
def test_the_draft_agrees_as_often_as_it_was_told_to(agreement):
    assert agreement_of(agreement) == pytest.approx(agreement, abs=0.04)


def test_a_wrong_guess_is_never_the_targets_token_nor_the_end():
    target = ToyTarget()
    draft = ToyConfig(agreement=0.0).build_draft(target)

    assert not any(draft.guess([a, b])[0] in (0, target.next([a, b])) for a in range(27) for b in range(27))


def test_the_draft_is_surer_where_it_is_right():
    target = ToyTarget()
    draft = ToyConfig(agreement=0.5).build_draft(target)
    sure = {True: [], False: []}
    for a in range(27):
        for b in range(27):
            token, top1 = draft.guess([a, b])
            sure[token == target.next([a, b])].append(top1)

    assert min(sure[True]) > max(sure[False])


def test_a_stop_rule_ends_the_draft_after_the_token_that_triggers_it():
    control = DraftControl(frozenset({"top1"}), StopRule("top1", below=0.6))
    target = ToyTarget()
    session = ToyConfig(agreement=0.7).build_draft(target).open([3, 4])
    proposal = session.draft(50, control)

    assert [False] * (len(proposal) - 1) + [True] == [s.top1 < 0.6 for s in proposal.signals]
    assert len(proposal) < 50


def test_the_end_token_appears_as_often_as_it_was_told_to():
    target = ToyConfig(eos_share=0.2).build_target()
    ends = [target.next([a, b]) == 0 for a in range(27) for b in range(27)]

    assert sum(ends) / len(ends) == pytest.approx(0.2, abs=0.05)


def test_a_toy_draft_refuses_another_target_and_says_what_fits():
    with pytest.raises(BackendError, match="backend: prompt-lookup"):
        ToyConfig().build_draft(PromptLookup())


def test_letters_survive_the_tokenizer():
    codec = ToyTarget().codec

    assert codec.decode(codec.encode("The quick brown fox")) == "the quick brown fox"


@pytest.mark.parametrize(
    ("proposed", "wanted", "verdict"),
    [
        ([], [7], (0, (7,))),
        ([1, 2], [1, 2, 3], (2, (1, 2, 3))),
        ([1, 9], [1, 2, 3], (1, (1, 2))),
        ([9, 2], [1, 2, 3], (0, (1,))),
    ],
)
def test_judging_accepts_up_to_the_first_difference(proposed, wanted, verdict):
    judged = verify_greedy(proposed, wanted)

    assert verdict == (judged.accepted, judged.tokens)
