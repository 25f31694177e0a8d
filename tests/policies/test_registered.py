"""All built-in policies: the contract, with defaults and with options far from them, and options out of range."""

import pytest
import yaml
from pydantic import ValidationError

from paceline import policies
from paceline.core.testing.policies import check_policy

BUILT_IN = {config.model_fields["name"].default: config for config in policies.register_policies()}

FAR = """
adaedl: [{first_threshold: 0.0}, {first_threshold: 1.0, step: 1.0, threshold_memory: 0.0}, {draft: b}]
aimd: [{min_gamma: 3, max_gamma: 6}, {increase: 5, decrease: 4, first_gamma: 2, draft: b}]
cached-fsm: [{cache: 1}, {ngram: 2, max_gamma: 4}, {draft: b, ngram: 4}]
confidence: [{adapt: false}, {weight: 0.5, max_gamma: 3}, {draft: b}]
d-ucb: [{discount: 0.9, gammas: [0, 1, 4]}]
ema-tier:
- {slots: [{batch: 1, tiers: [0, 1, 3, 7]}], warmup: 0, every: 1, draft: b}
- {slots: [{batch: 1, tiers: [0, 1, 3, 7]}], cost_aware: true}
- {slots: [{batch: 1, tiers: [2, 4, 12]}], alpha: 0.9, cost_aware: true, warmup: 0, every: 1}
ev-stop: [{listen: always, max_gamma: 5}, {listen: measured, max_gamma: 5}]
fsm: [{first_gamma: 2, min_gamma: 2, max_gamma: 5, draft: b}]
gammatune: [{stop_below: 0.4}, {weight: 1.0, increase: 4, max_gamma: 5}, {min_gamma: 3, first_gamma: 9}]
gate:
- policy: {name: static, gamma: 4}
- {policy: thompson, window: 1, probe_window: 1, probe_every: 1, refresh_every: 1, margin: 0.0}
- policy: {name: gate, policy: {name: online, window: 3}}
hedge: [{sample: true, share: 0.0}, {window: 1, max_gamma: 1, overhead: 1.0, length: static}, {length: thompson}]
linear-select: [{buckets: 1, ridge: 1.0e-6, probe_every: 1}, {length: static, max_gamma: 2}, {length: thompson}]
metasd: [{reward: speed, beta: 1.0}, {discount: 1.0, beta: 0.0, length: static}, {length: thompson}]
online:
- {prior: null, window: 5, max_gamma: 3}
- {probe_every: 1, first_gamma: 30, max_accuracy: 0.6, window: 1}
q-learning:
- {exploration: 0.0, least_exploration: 0.0}
- {exploration: 1.0, decay: 1.0, discount: 0.99}
- {gammas: [1, 4], learning_rate: 1.0, draft: b}
restart-cost: [{policy: thompson, rounds: 3, patience: 1}]
schedule:
- {table: [{gamma: 5}], draft: b}
- {table: [{context: [1, 40], gamma: 2}, {context: [41, null], gamma: 9}]}
- table:
  - {batch: [1, 4], context: [1, 1000], gamma: 6}
  - {batch: [1, 4], context: [2000, 8000], gamma: 3}
  - {batch: [8, 16], gamma: 2}
  - {batch: [32, null], context: [1, 500], gamma: 1}
  - {batch: [32, null], context: [501, null], gamma: 0}
static: [{gamma: 0}, {gamma: 1}, {gamma: 30}, {gamma: 3, nodes: 9, width: 2}, {gamma: 30, nodes: 64}]
survival:
- {sampling: thompson}
- {draft: b, max_gamma: 3}
- {score_share: 1.0, plain_every: 200, discount: 1.0}
- {max_nodes: 5, max_gamma: 2}
- {max_nodes: 0}
svip: [{threshold: 0.9, max_gamma: 3}, {kappa: 0.01, draft: b}]
tapout:
- {arms: [static, online], reward: blended, exploration: 1.4142}
- {arms: [online, ucb, {name: tapout, arms: [aimd, q-learning]}], share: false}
thompson: [{max_gamma: 1, discount: 1.0}, {discount: 0.5, draft: b}]
tree-online: [{nodes: 1}, {nodes: 64, width: 1, window: 3, probe_every: 1, prior: null}, {draft: b, nodes: 4}]
ucb: [{exploration: 0.0}, {gammas: [1, 4], cold_start: 100.0, draft: b}, {gammas: [0, 3, 8, 40], exploration: 2.0}]
"""

OUT_OF_RANGE = """
aimd: [{increase: 0}, {decrease: 0}, {min_gamma: 0}, {first_gamma: 0}]
d-ucb: [{discount: 0.4}, {discount: 1.01}, {exploration: -1.0}]
online: [{max_accuracy: 1.0}, {window: 0}, {prior: [1.0, .inf]}, {prior: [-1.0, 1.0]}]
q-learning: [{learning_rate: 0.0}, {discount: 1.0}, {exploration: 1.1}, {decay: 0.0}, {gammas: [4]}]
static: [{gamma: -1}]
tapout: [{arms: [static]}, {arms: [statik, online]}, {blend: 1.1}, {exploration: -1.0}, {reward: length}]
thompson: [{prior: [0.0, 1.0]}, {discount: 0.0}, {discount: .nan}, {gama: 3}]
ucb:
- {gammas: [4]}
- {gammas: [4, 2]}
- {gammas: [2, 2]}
- {gammas: [-1, 2]}
- {exploration: -0.1}
- {exploration: .inf}
- {cold_start: 0.0}
"""


def each(blocks):
    options = [(name, options) for name, several in yaml.safe_load(blocks).items() for options in several]
    return pytest.mark.parametrize(("name", "options"), options)


def test_every_name_is_given_once():
    assert len(BUILT_IN) == len(list(policies.register_policies()))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_policy_keeps_the_contract_with_one_draft_and_with_two(name):
    check_policy(BUILT_IN[name], examples=20)
    check_policy(BUILT_IN[name], drafts=("small", "lookup"), examples=20)


@each(FAR)
def test_every_policy_keeps_the_contract_with_options_far_from_the_defaults(name, options):
    check_policy(BUILT_IN[name](**options), drafts=("a", "b"), examples=15)


@each(OUT_OF_RANGE)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(ValidationError):
        BUILT_IN[name](**options)
