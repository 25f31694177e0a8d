"""Candidate generators of transformers propose to the loop."""

import copy

import pytest
import torch
from transformers.generation.candidate_generator import (
    AssistedCandidateGenerator,
    CandidateGenerator,
    PromptLookupCandidateGenerator,
)

import paceline.hf
from paceline.core.errors import BackendError

from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

MODEL = tiny_model("llama")
IDS = torch.tensor([[3, 1, 4, 1, 5]])
SHARED = {"max_new_tokens": 24, "pad_token_id": 0, "do_sample": False}


class Knows(CandidateGenerator):
    """Writes what is known to come, so many tokens at once."""

    def __init__(self, text, logits=None):
        self.text = text
        self.logits = logits

    def get_candidates(self, input_ids, **kwargs):
        length = input_ids.shape[1]
        return torch.cat([input_ids, self.text[:, length : length + 6]], dim=1), self.logits


def decoded(generator, gamma=4, **options):
    rounds = []
    loop = paceline.hf.adaptive(
        {"own": paceline.hf.candidate_draft(generator, **options)},
        policy={"name": "static", "gamma": gamma},
        on_round=lambda row, done: rounds.append(done),
    )
    return MODEL.generate(IDS, **SHARED, custom_generate=loop), rounds


def test_what_a_generator_finds_is_proposed_no_more_of_it_than_planned():
    wanted = MODEL.generate(IDS, **SHARED)
    found, rounds = decoded(Knows(wanted))
    assert found.tolist() == wanted.tolist()
    assert [done.drafted for done in rounds[:3]] == [4, 4, 4]
    assert all(done.accepted == done.drafted for done in rounds[:-1])


def test_prompt_lookup_and_assistants_of_transformers_serve():
    wanted = MODEL.generate(IDS, **SHARED)
    lookup = PromptLookupCandidateGenerator(num_output_tokens=6, max_matching_ngram_size=2, max_length=29)
    assert decoded(lookup)[0].tolist() == wanted.tolist()

    def assistant(ids):
        draft = noisy_copy(MODEL)
        config = copy.deepcopy(draft.generation_config)
        config.max_length, config.return_dict_in_generate, config.output_scores = 29, True, True
        config.min_length, config.num_assistant_tokens = 0, 20
        draft.generation_config.num_assistant_tokens = 20
        draft.generation_config.num_assistant_tokens_schedule = "constant"
        draft.generation_config.assistant_confidence_threshold = 0.0
        return AssistedCandidateGenerator(ids, draft, generation_config=config, model_kwargs={})

    found, rounds = decoded(assistant)
    assert found.tolist() == wanted.tolist()
    assert 0 < sum(done.accepted for done in rounds) < sum(done.drafted for done in rounds)


def test_a_generator_that_reads_hidden_states_is_refused():
    generator = Knows(IDS)
    generator.requires_model_outputs = True
    with pytest.raises(BackendError, match="hidden states"):
        paceline.hf.candidate_draft(generator)


def test_logits_count_only_where_tokens_are_said_to_be_drawn_from_them():
    draft = paceline.hf.candidate_draft(Knows(torch.tensor([[3, 1, 2]]), torch.zeros(1, 1, 8)))
    assert not hasattr(draft.open([3, 1]).draft(2, None), "draft_probs")
    drawn = paceline.hf.candidate_draft(Knows(torch.tensor([[3, 1, 2]]), torch.zeros(1, 1, 8)), drawn=True)
    assert drawn.open([3, 1]).draft(2, None).draft_probs.tolist() == [[0.125] * 8]
