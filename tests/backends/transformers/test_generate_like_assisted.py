"""Demands of transformers on its own assisted generation, made of the drop-in: more drafts, no tolerance."""

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

import paceline.hf

from ..tiny_models import VOCABULARY, noisy_copy, tiny_model

torch.set_num_threads(1)

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
SHARED = {"max_new_tokens": 24, "pad_token_id": 0, "do_sample": False}
FULL = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
FAMILIES = ["llama", "gpt2", "opt", "gemma3_text"]
DRAFTS = {
    "the same model": lambda model, _: model,
    "a model that agrees now and then": lambda model, _: noisy_copy(model),
    "a model of another family": lambda _, family: tiny_model("llama" if family == "gpt2" else "gpt2"),
    "prompt lookup": lambda _, __: "lookup",
}
POLICIES = [{"name": "static", "gamma": 2}, {"name": "static", "gamma": 9}, "aimd", "auto"]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_sequences_scores_and_logits_are_those_of_greedy_search(family, draft, policy):
    model = tiny_model(family)
    wanted = model.generate(IDS, **SHARED, **FULL)
    loop = paceline.hf.adaptive(DRAFTS[draft](model, family), policy=policy)
    found = model.generate(IDS, **SHARED, **FULL, custom_generate=loop)
    assert found.sequences.tolist() == wanted.sequences.tolist()
    for kind in ("scores", "logits"):
        ours, theirs = getattr(found, kind), getattr(wanted, kind)
        assert len(ours) == len(theirs) == found.sequences.shape[1] - IDS.shape[1]
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("draft", DRAFTS)
def test_what_is_sampled_has_the_shape_of_what_is_asked_for(draft):
    model = tiny_model("llama")
    loop = paceline.hf.adaptive(DRAFTS[draft](model, "llama"), seed=3)
    asked = {**SHARED, **FULL, "do_sample": True, "temperature": 1.5, "top_k": 20, "num_return_sequences": 3}
    found = model.generate(IDS, **asked, custom_generate=loop)
    assert found.sequences.shape == (3, IDS.shape[1] + 24)
    assert found.sequences[:, : IDS.shape[1]].tolist() == IDS.tolist() * 3
    assert len({tuple(row) for row in found.sequences.tolist()}) == 3
    assert [tuple(one.shape) for one in found.scores] == [(3, VOCABULARY)] * 24
    for place, scores in enumerate(found.scores):
        drawn = found.sequences[:, IDS.shape[1] + place]
        assert torch.isfinite(scores.gather(1, drawn[:, None])).all(), (
            "a token was drawn that top-k had ruled out"
        )


def test_prompt_lookup_goes_no_further_than_an_end_of_sequence_that_it_proposes():
    model = tiny_model("llama")
    text = model.generate(IDS, **SHARED)[0].tolist()
    eos = text[IDS.shape[1] + 6]
    # The whole text stands in the prompt, so that lookup proposes its end and what came after it.
    ids = torch.tensor([[*text, *IDS[0].tolist()]])
    loop = paceline.hf.adaptive("lookup", policy={"name": "static", "gamma": 12})
    found = model.generate(ids, **SHARED, eos_token_id=eos, custom_generate=loop)
    assert found.tolist() == model.generate(ids, **SHARED, eos_token_id=eos).tolist()


@pytest.mark.parametrize("policy", ["aimd", "auto"])
def test_what_is_learnt_stays_in_the_object_and_leaves_both_models_as_they_were(policy):
    model = tiny_model("llama")
    draft = noisy_copy(model)
    before = [one.generation_config.to_dict() for one in (model, draft)]
    weights = {name: value.clone() for name, value in draft.state_dict().items()}
    loop = paceline.hf.adaptive(draft, policy=policy)
    for _ in range(3):
        model.generate(IDS, **SHARED, custom_generate=loop)
    assert [one.generation_config.to_dict() for one in (model, draft)] == before
    assert all(torch.equal(value, weights[name]) for name, value in draft.state_dict().items())


class OnlyEven(LogitsProcessor):
    """Rules out half of the tokens, of which the draft knows nothing."""

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, 1::2] = -torch.inf
        return scores


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_processor_of_ones_own_rules_every_token_also_those_the_draft_proposed(do_sample):
    model = tiny_model("llama")
    own = LogitsProcessorList([OnlyEven()])
    loop = paceline.hf.adaptive(noisy_copy(model), policy={"name": "static", "gamma": 6})
    asked = {**SHARED, "do_sample": do_sample, "logits_processor": own}
    found = model.generate(IDS, **asked, custom_generate=loop)
    assert (found[:, IDS.shape[1] :] % 2 == 0).all()
    if not do_sample:
        assert found.tolist() == model.generate(IDS, **asked).tolist()


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_text_may_be_shorter_than_a_single_block(limit):
    model = tiny_model("llama")
    loop = paceline.hf.adaptive(model, policy={"name": "static", "gamma": 8})
    asked = {**SHARED, "max_new_tokens": limit}
    assert (
        model.generate(IDS, **asked, custom_generate=loop).tolist() == model.generate(IDS, **asked).tolist()
    )
