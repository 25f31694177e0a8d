"""Behaviour that all policies share that stop by a declared threshold."""

import pytest

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError
from paceline.core.records import Capabilities, Plan
from paceline.policies.baselines.adaedl import AdaEdlConfig
from paceline.policies.baselines.cached_fsm import CachedFsmConfig
from paceline.policies.baselines.confidence import ConfidenceConfig
from paceline.policies.baselines.svip import SvipConfig

TARGET = ToyTarget(seed=3)
MIXED = {"small": ToyDraft(TARGET, agreement=0.7), "lookup": PromptLookup()}
THRESHOLDS = [ConfidenceConfig, SvipConfig, AdaEdlConfig]
ALL = [*THRESHOLDS, CachedFsmConfig]

each = pytest.mark.parametrize("config", ALL)
each_threshold = pytest.mark.parametrize("config", THRESHOLDS)


@each_threshold
def test_the_largest_gamma_is_planned_that_options_budget_and_engine_allow(config, start):
    policy = config(max_gamma=12).build()
    assert [policy.plan(start(budget)).gamma for budget in (0, 1, 5, 12, 90)] == [0, 1, 5, 12, 12]
    engine = Capabilities(gammas=(1, 3, 8, 16))
    assert policy.plan(start(capabilities=engine)).gamma == 8


@each_threshold
def test_nothing_is_copied_for_each_token(config, start):
    policy = config().build()
    assert policy.needs == frozenset()
    assert policy.plan(start()).stop == policy.rule


@each
def test_without_a_draft_plain_decoding_is_planned(config, start):
    assert config().build().plan(start(lags={})) == Plan(0)


@each_threshold
def test_a_draft_without_the_signal_is_refused_before_the_first_token_unless_another_is_named(config):
    with pytest.raises(CapabilityError, match="which the draft 'lookup' does not deliver"):
        SpeculativeDecoder(TARGET, dict(reversed(MIXED.items())), config().build())
    policy = config(draft="small").build()
    assert SpeculativeDecoder(TARGET, MIXED, policy).generate([5], max_new_tokens=20).totals.accepted > 0


@each
def test_whatever_stops_a_round_the_text_is_the_targets_own(config):
    output = [5]
    while len(output) <= 120:
        output.append(TARGET.next(output))
    drafts = {"small": ToyDraft(TARGET, agreement=0.7)}
    decoder = SpeculativeDecoder(TARGET, drafts, config().build())
    rounds = list(decoder.rounds([5], max_new_tokens=120))
    assert [token for done in rounds for token in done.tokens] == output[1:]
    stopped = [done for done in rounds[:-5] if done.drafted < done.plan.gamma]
    assert stopped
    assert all(len(done.signals) == done.drafted for done in rounds)
