"""Whatever a policy does, the tokens are those of the target's own `generate`."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.torch.tiny_models import FAMILIES, noisy_copy, tiny_model
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.records import Plan, Requirements

from ..adversary import LONGEST, Adversary, check_abandoned, check_tokens, prompts, requests, scripts

torch.set_num_threads(1)


@functools.cache
def pair(family, dtype=torch.float64):
    model = tiny_model(family, dtype=dtype)
    drafts = {
        "near": HfDraft(noisy_copy(model, noise=0.02)),
        "far": HfDraft(tiny_model(family, seed=5, dtype=dtype)),
        "lookup": PromptLookup(),
    }
    return model, HfTarget(model), drafts


@functools.lru_cache(maxsize=512)
def plainly(family, prompt, max_new_tokens, eos, dtype=torch.float64):
    model, _, _ = pair(family, dtype)
    ids = torch.tensor([prompt])
    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(eos) or None,
        pad_token_id=0,
    )
    return tuple(found[0, len(prompt) :].tolist())


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests(FAMILIES, plainly), script=scripts, wants_signals=st.booleans())
def test_an_adversarial_policy_changes_no_token(request, script, wants_signals):
    _, target, drafts = pair(request[0])
    check_tokens(target, drafts, Adversary(script, wants_signals), request, plainly)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests(FAMILIES, plainly), script=scripts, left_after=st.integers(0, 4))
def test_a_request_abandoned_half_way_leaves_the_next_one_untouched(request, script, left_after):
    _, target, drafts = pair(request[0])
    check_abandoned(target, drafts, Adversary(script), request, plainly, left_after)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(one=requests(FAMILIES, plainly), other=requests(FAMILIES, plainly), script=scripts)
def test_two_requests_that_take_turns_do_not_disturb_each_other(one, other, script):
    expected, found, under_way = {}, {}, {}
    for number, (family, prompt, limit, eos) in enumerate((one, other)):
        _, target, drafts = pair(family)
        expected[number] = plainly(family, prompt, limit, eos)
        found[number] = ()
        decoder = SpeculativeDecoder(target, drafts, Adversary(script), eos=eos)
        under_way[number] = decoder.rounds(prompt, max_new_tokens=limit)
    while under_way:
        for number in list(under_way):
            done = next(under_way[number], None)
            if done is None:
                del under_way[number]
            else:
                found[number] += done.tokens

    assert expected == found


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_drafts_are_partly_right_so_that_these_tests_mean_something(family):
    _, target, drafts = pair(family)
    totals = (
        SpeculativeDecoder(target, {"near": drafts["near"]}, Always(4))
        .generate([3, 1, 4], max_new_tokens=120)
        .totals
    )

    assert 0.05 < totals.acceptance < 0.98


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(family=st.sampled_from(["llama", "gpt2", "mistral"]), prompt=prompts, script=scripts)
def test_in_short_floats_tokens_differ_only_at_a_near_tie(dtype, family, prompt, script):
    _, target, drafts = pair(family, dtype)
    expected = plainly(family, prompt, LONGEST, frozenset(), dtype)

    found = SpeculativeDecoder(target, drafts, Adversary(script), eos=frozenset()).generate(
        prompt, max_new_tokens=LONGEST
    )

    at = next((i for i, (a, b) in enumerate(zip(expected, found.tokens, strict=True)) if a != b), None)
    if at is not None:
        gap = target.gap([*prompt, *expected[:at]], expected[at], found.tokens[at])
        # Logits here are of the order of 10; a near-tie is a few units in the last place of the dtype.
        assert gap <= 200 * torch.finfo(dtype).eps, (
            f"{family} {dtype}: token {at} differs at a logit gap of {gap}"
        )


@dataclass
class Always:
    """The same gamma in every round."""

    gamma: int
    needs: frozenset = frozenset()
    requires: ClassVar[Requirements] = Requirements()

    def plan(self, start):
        return Plan(min(self.gamma, start.budget))

    def observe(self, done):
        pass
