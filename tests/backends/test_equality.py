"""Whatever a policy does, on every engine the tokens are those of transformers' own `generate`."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.backends.graph import products
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.sampling import Sampling

from .adversary import LONGEST, Adversary, check_abandoned, check_tokens, prompts, requests, scripts
from .graph import pairs as graph
from .graph.cuda import programs
from .tiny_models import noisy_copy
from .transformers import pairs as hf

torch.set_num_threads(1)

ENGINES = {"hf": hf, "graph": graph, "programs": programs}
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def request_on(engine, data):
    """Return an engine's pairs, and a request to one of them."""
    pairs = ENGINES[engine]
    return pairs, data.draw(requests(pairs.FAMILIES, pairs.plainly))


@pytest.mark.parametrize("engine", ENGINES)
@settings(slow, max_examples=100)
@given(data=st.data(), script=scripts, wants_signals=st.booleans())
def test_an_adversarial_policy_changes_no_token(engine, data, script, wants_signals):
    pairs, request = request_on(engine, data)
    target, drafts = pairs.pair(request[0])
    check_tokens(target, drafts, Adversary(script, wants_signals), request, pairs.plainly)


@pytest.mark.parametrize("engine", ENGINES)
@settings(slow, max_examples=25)
@given(data=st.data(), script=scripts, left_after=st.integers(0, 4))
def test_a_request_abandoned_half_way_leaves_the_next_one_untouched(engine, data, script, left_after):
    pairs, request = request_on(engine, data)
    target, drafts = pairs.pair(request[0])
    check_abandoned(target, drafts, Adversary(script), request, pairs.plainly, left_after)


@pytest.mark.parametrize("engine", ENGINES)
@settings(slow, max_examples=20)
@given(data=st.data(), script=scripts)
def test_two_requests_that_take_turns_do_not_disturb_each_other(engine, data, script):
    expected, written, under_way = {}, {}, {}
    for number in range(2):
        pairs, (family, prompt, limit, eos) = request_on(engine, data)
        target, drafts = pairs.pair(family)
        expected[number] = pairs.plainly(family, prompt, limit, eos)
        written[number] = ()
        decoder = SpeculativeDecoder(target, drafts, Adversary(script), eos=eos)
        under_way[number] = decoder.rounds(prompt, max_new_tokens=limit)
    while under_way:
        for number in list(under_way):
            done = next(under_way[number], None)
            if done is None:
                del under_way[number]
            else:
                written[number] += done.tokens

    assert expected == written


@pytest.mark.parametrize(
    ("engine", "family"), [(engine, each) for engine, pairs in ENGINES.items() for each in pairs.FAMILIES]
)
def test_drafts_are_partly_right_so_that_these_tests_mean_something(engine, family):
    target, drafts = ENGINES[engine].pair(family)
    policy = Adversary([(4, "near", None, 9)])
    decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
    assert 0.05 < decoder.generate([3, 1, 4], max_new_tokens=60).totals.acceptance < 0.98


@pytest.mark.parametrize(
    ("engine", "dtype", "options"),
    [
        ("hf", torch.float32, {}),
        ("hf", torch.bfloat16, {}),
        ("graph", torch.float32, {"packed": False}),
        ("graph", torch.float32, {"packed": True}),
        ("programs", torch.float32, {}),
    ],
    ids=str,
)
@settings(slow, max_examples=20)
@given(data=st.data(), prompt=prompts, script=scripts)
def test_in_short_floats_tokens_differ_only_at_a_near_tie(engine, dtype, options, data, prompt, script):
    pairs = ENGINES[engine]
    family = data.draw(st.sampled_from(["llama", "gpt2", "mistral"] if engine == "hf" else pairs.FAMILIES))
    with pytest.MonkeyPatch.context() as patch:
        # Matrices as small as these are not packed otherwise.
        patch.setattr(products, "LEAST_BYTES", 0)
        target, drafts = pairs.pair(family, dtype, **options)
    expected = pairs.plainly(family, prompt, LONGEST, dtype=dtype)

    decoder = SpeculativeDecoder(target, drafts, Adversary(script), eos=frozenset())
    written = decoder.generate(prompt, max_new_tokens=LONGEST).tokens

    at = next((i for i, (a, b) in enumerate(zip(expected, written, strict=True)) if a != b), None)
    if at is not None:
        gap = target.gap([*prompt, *expected[:at]], expected[at], written[at])
        # Logits here are of the order of 10; a near-tie is a few units in the last place of the dtype.
        assert gap <= 200 * torch.finfo(dtype).eps, f"{family}: token {at} differs at a gap of {gap}"


def test_tokens_drawn_with_a_seed_are_those_that_the_hf_backend_draws():
    target, drafts = graph.pair("llama")
    model = graph.model_of("llama")
    theirs = HfTarget(model), HfDraft(noisy_copy(model, noise=0.02))
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=3)

    def drawn(target, draft):
        drafts = {"near": draft, "far": draft, "lookup": draft}
        decoder = SpeculativeDecoder(target, drafts, Adversary([(3, "near", None, 9)]))
        return decoder.generate([5, 6, 7], max_new_tokens=40, sampling=sampling).tokens

    assert drawn(target, drafts["near"]) == drawn(*theirs)
