"""Whole engines: the tokens are the target's own, and gamma as decided is gamma as drafted, by vLLM's own count."""

import pytest

pytestmark = pytest.mark.engine
EVERY = ["scripted", "chaotic", "static", "online", "survival", "auto", "raising", "raising-late"]


@pytest.mark.parametrize("policy", EVERY)
def test_tokens_are_those_of_vllm_without_speculation(policy, decoded, target_alone):
    _, found = decoded
    assert found[policy]["alone"] == target_alone["alone"]
    assert found[policy]["together"] == target_alone["together"]


@pytest.mark.parametrize("policy", EVERY)
def test_what_was_decided_a_step_before_is_what_was_drafted(policy, decoded):
    kind, found = decoded
    plans, rounds, (metrics,) = found[policy]["by_one"]
    turns = [turn for step in rounds for turn in step]
    in_force = [gamma for _, gamma, _, _, reason in turns if reason != "prefill"]
    assert in_force == [gamma for gamma, _ in plans][: len(in_force)]
    drafted = [drafted for _, _, drafted, _, _ in turns if drafted]
    accepted = [accepted for _, _, drafted, accepted, _ in turns if drafted]
    assert [drafted, accepted] == metrics
    if kind == "draft-model":
        assert drafted == [gamma for gamma in in_force if gamma]
    else:
        assert all(drafted <= gamma for _, gamma, drafted, _, _ in turns)


@pytest.mark.parametrize("policy", EVERY)
def test_in_a_batch_too_vllm_counts_what_was_planned(policy, decoded):
    kind, found = decoded
    requests = {}
    for step in found[policy]["rounds"]:
        for name, gamma, drafted, accepted, _ in step:
            requests.setdefault(name, []).append((gamma, drafted, accepted))
    counted = [[[d for _, d, _ in turns if d], [a for _, d, a in turns if d]] for turns in requests.values()]
    assert sorted(counted) == sorted(found[policy]["metrics"])
    if kind == "draft-model":
        assert all(gamma == drafted for turns in requests.values() for gamma, drafted, _ in turns)


def test_a_policy_that_raises_is_replaced_and_the_texts_go_on(decoded):
    _, found = decoded
    assert found["raising"]["counters"]["failed"]
    assert found["raising"]["by_one"][0][-1] == [0, "fallback"]
    assert found["raising-late"]["by_one"][0][-1] == [2, "fallback"]
    assert not any(
        found[policy]["counters"]["failed"] for policy in EVERY if not policy.startswith("raising")
    )


def test_a_script_is_followed_step_by_step(decoded):
    _, found = decoded
    script = [4, 1, 0, 2, 3]
    plans = [gamma for gamma, _ in found["scripted"]["by_one"][0]]
    followed = [gamma == script[n % 5] for n, gamma in enumerate(plans)]
    assert all(followed[:-4])  # at the end the budget is shorter
    assert len(followed) > 10


def test_the_costs_that_were_fitted_are_those_of_real_steps(decoded):
    _, found = decoded
    base_s, token_s, block_s, draft_s = found["scripted"]["costs"]
    assert 0.0 < base_s + token_s < 1.0
    assert min(block_s, draft_s) >= 0.0
