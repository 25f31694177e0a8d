"""Tokens drawn by way of the drop-in are distributed as those that `generate` draws."""

import functools
from collections import Counter

import pytest
import torch
from transformers import LogitsProcessorList

import paceline.hf
from paceline.core.testing.doubles import ScriptedPolicy

from ..exact import apart, every_outcome, texts
from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

IDS = torch.tensor([[3, 1, 4]])
MASK = {"attention_mask": torch.ones_like(IDS)}
SETTINGS = [
    {"temperature": 3.0, "top_k": 2},
    {"temperature": 4.0, "top_k": 0, "top_p": 0.7},
    {"temperature": 3.0, "top_k": 3, "top_p": 0.9, "repetition_penalty": 1.6},
    {"temperature": 4.0, "top_k": 0, "no_repeat_ngram_size": 2, "bad_words_ids": [[2, 4]]},
]


@functools.cache
def models():
    model = tiny_model("llama", vocab_size=5)
    return model, noisy_copy(model, noise=0.15)


def dodge(input_ids, scores):
    """Make what came last less likely: a processor that a user wrote."""
    return scores.scatter_add(1, input_ids[:, -1:], torch.full_like(scores[:, :1], -1.0))


def told(options):
    found = {"do_sample": True, "pad_token_id": 0, **MASK, **options}
    if found.pop("dodge", False):
        found["logits_processor"] = LogitsProcessorList([dodge])
    return found


def alone(length, options):
    """Return the distribution of the first tokens, by the scores that `generate` draws from."""

    def next_probs(text):
        ids = torch.tensor([[*IDS[0].tolist(), *text]])
        asked = {**told(options), "attention_mask": torch.ones_like(ids), "max_new_tokens": 1}
        made = models()[0].generate(ids, **asked, output_scores=True, return_dict_in_generate=True)
        return torch.softmax(made.scores[0][0].double(), dim=-1).tolist()

    return texts(length, next_probs)


@pytest.mark.parametrize("options", [*SETTINGS, {"temperature": 3.0, "top_k": 3, "dodge": True}], ids=str)
@pytest.mark.parametrize("drafts", [{"a": "model"}, {"a": "lookup"}], ids=["model", "lookup"])
@pytest.mark.parametrize("engine", ["hf", "graph"])
def test_every_text_is_as_likely_as_by_generate(options, drafts, engine, monkeypatch):
    policy = ScriptedPolicy([1])
    source = {name: models()[1] if kind == "model" else kind for name, kind in drafts.items()}
    loop = paceline.hf.adaptive(source, policy=policy, engine=engine)

    def run():
        policy.__init__([1])
        made = models()[0].generate(IDS, **told(options), max_new_tokens=2, custom_generate=loop)
        return tuple(made[0, 3:].tolist())

    assert apart(every_outcome(run, monkeypatch), alone(2, options)) < 1e-6


def test_many_returned_sequences_are_drawn_independently_and_as_often_as_they_should_be():
    model, draft = models()
    options = {"temperature": 3.0, "top_k": 3, "repetition_penalty": 1.3}
    loop = paceline.hf.adaptive(draft, policy={"name": "static", "gamma": 2}, seed=7, engine="graph")
    count = 700
    asked = {**told(options), "max_new_tokens": 2, "num_return_sequences": count}
    found = Counter(map(tuple, model.generate(IDS, **asked, custom_generate=loop)[:, 3:].tolist()))
    target_probs = {text: share * count for text, share in alone(2, options).items()}
    assert found.keys() <= target_probs.keys()
    statistic = sum((found[text] - many) ** 2 / many for text, many in target_probs.items())
    assert statistic < 27.9  # 0.001 of chi-square with 9 - 1 = 8 degrees is 26.1; a fixed seed, so no flake


def test_the_seed_of_torch_governs_unless_one_is_given():
    model, draft = models()
    script = {"policy": {"name": "static", "gamma": 2}}

    def draw(loop, seed):
        torch.manual_seed(seed)
        asked = {**told({"temperature": 4.0, "top_k": 0}), "max_new_tokens": 20}
        return model.generate(IDS, **asked, custom_generate=loop).tolist()

    free = paceline.hf.adaptive(draft, **script)
    assert draw(free, 1) == draw(free, 1)
    assert draw(free, 1) != draw(free, 2)
    fixed = paceline.hf.adaptive(draft, **script, seed=5)
    assert draw(fixed, 1) == draw(fixed, 2)
