"""Whatever a policy does, the tokens are those of transformers' own `generate`."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.backends.graph import products
from paceline.backends.torch.tiny_models import noisy_copy
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.sampling import Sampling

from ..adversary import LONGEST, Adversary, check_abandoned, check_tokens, prompts, requests, scripts
from .pairs import FAMILIES, model_of, pair, plainly

torch.set_num_threads(1)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests(FAMILIES, plainly), script=scripts, wants_signals=st.booleans())
def test_an_adversarial_policy_changes_no_token(request, script, wants_signals):
    target, drafts = pair(request[0])
    check_tokens(target, drafts, Adversary(script, wants_signals), request, plainly)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests(FAMILIES, plainly), script=scripts, left_after=st.integers(0, 4))
def test_a_request_abandoned_half_way_leaves_the_next_one_untouched(request, script, left_after):
    target, drafts = pair(request[0])
    check_abandoned(target, drafts, Adversary(script), request, plainly, left_after)


@pytest.mark.parametrize("packed", [False, True])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(family=st.sampled_from(FAMILIES), prompt=prompts, script=scripts)
def test_in_float32_tokens_differ_only_at_a_near_tie(packed, family, prompt, script):
    with pytest.MonkeyPatch.context() as patch:
        # Matrices as small as these are not packed otherwise.
        patch.setattr(products, "LEAST_BYTES", 0)
        target, drafts = pair(family, torch.float32, packed=packed)
    expected = plainly(family, prompt, LONGEST, dtype=torch.float32)

    found = SpeculativeDecoder(target, drafts, Adversary(script), eos=frozenset()).generate(
        prompt, max_new_tokens=LONGEST
    )

    at = next((i for i, (a, b) in enumerate(zip(expected, found.tokens, strict=True)) if a != b), None)
    if at is not None:
        gap = target.gap([*prompt, *expected[:at]], expected[at], found.tokens[at])
        assert gap <= 200 * torch.finfo(torch.float32).eps, f"{family}: token {at} differs at a gap of {gap}"


@pytest.mark.parametrize("family", FAMILIES)
def test_drafts_are_partly_right_so_that_these_tests_mean_something(family):
    target, drafts = pair(family)
    policy = Adversary([(4, "near", None, 9)])
    totals = SpeculativeDecoder(target, drafts, policy, eos=frozenset()).generate([3, 1, 4]).totals
    assert 0.05 < totals.acceptance < 0.98


def test_tokens_drawn_with_a_seed_are_those_that_the_hf_backend_draws():
    from paceline.backends.transformers import HfDraft, HfTarget

    target, drafts = pair("llama")
    models = model_of("llama"), noisy_copy(model_of("llama"), noise=0.02)
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=3)
    found = [
        SpeculativeDecoder(
            one, {"near": draft, "far": draft, "lookup": draft}, Adversary([(3, "near", None, 9)])
        )
        .generate([5, 6, 7], max_new_tokens=40, sampling=sampling)
        .tokens
        for one, draft in ((target, drafts["near"]), (HfTarget(models[0]), HfDraft(models[1])))
    ]
    assert found[0] == found[1]
