"""Passes that requests share are timed by their number and the draft tokens in them."""

import pytest

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.config.load import load_config
from paceline.core.errors import CapabilityError
from paceline.lab.models import Models
from paceline.lab.recording.batch_sweep import (
    ROUNDS,
    BatchSweepPolicy,
    TimedPasses,
    require_shared_passes,
    time_batches,
)
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.workloads.prompts import Prompt

PROFILE = LatencyProfile({1: 1e-4}, 0, 0.0, {"small": DraftTimes({1: 1e-5}, {})}, 0.0)
PROMPTS = [Prompt(f"p{number}", "made", (number + 1, 5)) for number in range(3)]


class SharingTarget(ToyTarget):
    """Verifies for all at once, in virtual seconds: 1 for a pass and 0.25 for a draft token."""

    shares_passes = True
    sizes = ()

    def verify_batch(self, sessions, proposals):
        self.sizes = (*self.sizes, len(sessions))
        return [session.verify(proposal) for session, proposal in zip(sessions, proposals, strict=True)]


def models_of(target):
    config = load_config({"target": "toy", "generation": {"max_new_tokens": 20}})
    return Models(config, target, {"small": ToyDraft(target, agreement=0.7)})


def test_every_size_is_timed_over_draft_tokens_from_none_to_many():
    target = SharingTarget(seed=1, eos_share=0.0)
    found = time_batches(models_of(target), PROMPTS, (2, 4), PROFILE, longest=6)
    assert found.keys() == {2, 4}
    for rows, times in found.items():
        assert 0 in times.verify
        assert max(times.verify) > 2 * rows
        assert len(times.verify) > 5
        levels = [times.verify[drafted] for drafted in sorted(times.verify)]
        assert levels == sorted(levels)
        assert all(seconds >= 0.0 for seconds in times.drafts["small"])
    assert len(target.sizes) >= 2 * ROUNDS
    assert set(target.sizes) <= {2, 3, 4}


def test_a_target_that_shares_no_passes_is_refused():
    with pytest.raises(CapabilityError, match=r"shares no passes between requests .*leave --batch out"):
        require_shared_passes(models_of(ToyTarget(seed=1)))


def test_what_is_timed_is_kept_and_learnt():
    passes = TimedPasses()
    passes.observe_verification(4, 3, 90, 0.5)
    passes.observe_drafting("small", 4, 2, 5, 1, 0.25)
    assert passes.verified == [(4, 3, 90, 0.5)]
    assert passes.drafted == [("small", 2, 5, 1, 0.25)]
    assert passes.least_s(4) > 0.0


def test_gammas_of_a_round_differ_and_all_are_lawful():
    class Start:
        budget = 9

        def gammas(self, limit):
            return range(min(limit, 4) + 1)

    policy = BatchSweepPolicy(["small", "large"], [1, 2, 3, 4, 5], seed=0)
    rounds = [policy.plan_batch([Start()] * 6) for _ in range(200)]
    assert {plan.gamma for plans in rounds for plan in plans} == {0, 1, 2, 3, 4}
    assert any(len({plan.gamma for plan in plans}) > 2 for plans in rounds)
    assert any(not any(plan.gamma for plan in plans) for plans in rounds)
    assert all(len({plan.draft for plan in plans if plan.gamma}) <= 1 for plans in rounds)
