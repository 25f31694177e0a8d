"""`generate` with the drop-in gives the tokens that `generate` alone gives, whatever else it is told."""

import functools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation.stopping_criteria import StoppingCriteria

import paceline.hf
from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy

from ..tiny_models import VOCABULARY, noisy_copy, tiny_model

torch.set_num_threads(1)

PAD = 0


@functools.cache
def pair(family="llama", engine="hf"):
    """Return a model, one drop-in for all calls of this family, and the policy that it follows."""
    model, policy = tiny_model(family), ScriptedPolicy([0])
    return model, paceline.hf.adaptive(noisy_copy(model), policy=policy, engine=engine), policy


class EndsAfter(StoppingCriteria):
    """Ends each row by itself after a token of its own choice; the answer is one for each row."""

    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids[:, -1] == self.token


class RemembersTokens:
    """A processor with a state: bans a token that it has seen chosen twice, by its own count of calls."""

    def __init__(self):
        self.seen = {}

    def __call__(self, input_ids, scores):
        for row, token in enumerate(input_ids[:, -1].tolist()):
            key = (row, token) if len(input_ids) > 1 else token
            self.seen[key] = self.seen.get(key, 0) + 1
            if self.seen[key] > 1:
                scores[row, token] = -torch.inf
        return scores


tokens = st.integers(1, VOCABULARY - 1)
processors = st.fixed_dictionaries(
    {},
    optional={
        "repetition_penalty": st.sampled_from([0.8, 1.2, 3.0]),
        "no_repeat_ngram_size": st.integers(1, 3),
        "min_new_tokens": st.integers(1, 4),
        "bad_words_ids": st.lists(st.lists(tokens, min_size=1, max_size=3), min_size=1, max_size=3),
        "suppress_tokens": st.lists(tokens, min_size=1, max_size=20),
        "begin_suppress_tokens": st.lists(tokens, min_size=1, max_size=20),
        "eos_token_id": st.lists(tokens, min_size=1, max_size=30),
        "forced_eos_token_id": tokens,
        "exponential_decay_length_penalty": st.tuples(st.integers(0, 4), st.sampled_from([1.1, 2.0])),
        "renormalize_logits": st.just(True),
        "ends_after": st.lists(tokens, min_size=1, max_size=12, unique=True),
        "remembers": st.just(True),
    },
)
batches = st.lists(st.lists(tokens, min_size=1, max_size=9), min_size=1, max_size=3)
plans = st.lists(
    st.builds(Plan, st.integers(0, 5), st.sampled_from(["small", "lookup"]))
    | st.builds(
        lambda gamma, draft, nodes: Plan(gamma, draft, nodes=gamma + nodes, width=3),
        st.integers(1, 4),
        st.sampled_from(["small", "lookup"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


def padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def told(options):
    """Return what `generate` is told; objects with a state are fresh ones."""
    found = dict(options)
    if "exponential_decay_length_penalty" in found:
        found.setdefault("eos_token_id", [7, 8])
    if found.get("forced_eos_token_id") in found.get("suppress_tokens", ()):
        del found["forced_eos_token_id"]
    ends, remembers = found.pop("ends_after", ()), found.pop("remembers", False)
    if ends:
        found["stopping_criteria"] = StoppingCriteriaList([EndsAfter(token) for token in ends])
    if remembers:
        found["logits_processor"] = LogitsProcessorList([RemembersTokens()])
    return found


def check(family, engine, rows, options, script, length):
    model, fast, policy = pair(family, engine)
    policy.__init__(script)
    shared = {**padded(rows), "max_new_tokens": length, "pad_token_id": PAD, "do_sample": False}
    found = model.generate(**shared, **told(options), custom_generate=fast)
    assert found.tolist() == model.generate(**shared, **told(options)).tolist()


# bloom and gemma2 are left out: `generate` itself makes nan of rows with padding in these tiny models.
cases = given(
    st.sampled_from([
        ("gpt2", "hf"), ("gemma3_text", "hf"), ("llama", "hf"), ("llama", "graph"), ("qwen3", "graph")
    ]),
    batches,
    processors,
    plans,
    st.integers(4, 14),
)  # fmt: skip


@settings(max_examples=220, deadline=None)
@example(("llama", "hf"), [[3, 1], [4, 1, 5]], {"ends_after": [17]}, [Plan(4, "small")], 14)
@example(("llama", "graph"), [[3, 1], [4, 1, 5]], {"ends_after": [17]}, [Plan(4, "small")], 14)
@example(
    ("llama", "graph"), [[3, 1], [4, 1, 5]], {"remembers": True, "eos_token_id": [5]}, [Plan(4, "small")], 14
)
@cases
def test_the_tokens_are_those_of_generate(run, rows, options, script, length):
    check(*run, rows, options, script, length)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@cases
def test_the_tokens_are_those_of_generate_in_many_more_cases(run, rows, options, script, length):
    check(*run, rows, options, script, length)


@settings(max_examples=30, deadline=None)
@given(batches, processors, st.integers(4, 10))
def test_scores_and_logits_are_those_of_generate_until_a_row_ends(rows, options, length):
    model, fast, policy = pair()
    policy.__init__([3])
    shared = {
        **padded(rows[:1]), "max_new_tokens": length, "pad_token_id": PAD, "return_dict_in_generate": True,
        "output_scores": True, "output_logits": True,
    }  # fmt: skip
    found = model.generate(**shared, **told(options), custom_generate=fast)
    wanted = model.generate(**shared, **told(options))
    assert found.sequences.tolist() == wanted.sequences.tolist()
    for kind in ("scores", "logits"):
        assert len(found[kind]) == len(wanted[kind])
        for ours, theirs in zip(found[kind], wanted[kind], strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)
