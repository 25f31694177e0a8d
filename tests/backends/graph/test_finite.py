"""NaN and infinite logits of a target end a text with an error that blames the model, however it verifies."""

import copy

import pytest
import torch

from paceline.backends.graph import GraphTarget
from paceline.backends.torch.logits import likeliest
from paceline.backends.transformers import HfTarget
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenProposal
from paceline.core.sampling import Sampling

from .cuda.programs import made
from .pairs import model_of

torch.set_num_threads(1)

BAD = 7
PENALISED = Sampling(temperature=0.0, repetition_penalty=1.2)


@pytest.fixture(scope="module", params=[torch.nan, torch.inf], ids=str)
def damaged(request):
    """Return a model of which a single token is damaged, which no look at other tokens can find."""
    model = copy.deepcopy(model_of("llama"))
    with torch.no_grad():
        model.model.embed_tokens.weight[BAD] = request.param
    return model


def programs(model):
    return made(copy.deepcopy(model), {})[0]


@pytest.mark.parametrize("make", [HfTarget, GraphTarget, programs], ids=["hf", "graph", "programs"])
@pytest.mark.parametrize("sampling", [None, Sampling(temperature=0.7, seed=1), PENALISED])
def test_logits_that_are_no_numbers_are_blamed_on_the_model(damaged, make, sampling):
    target = make(damaged)
    if make is programs and sampling is PENALISED:
        pytest.skip("programs have no repetition penalty")

    def opened(prompt):
        return target.open(prompt) if sampling is None else target.open_sampled(prompt, sampling)

    session = opened([1, 2, 3])
    session.advance(session.verify(None).tokens)
    with pytest.raises(BackendError, match=r"logits of .* are NaN or infinite .*weights are damaged"):
        opened([1, 2, BAD]).verify(None)
    with pytest.raises(BackendError, match="NaN or infinite"):
        opened([1, BAD, 3]).verify(TokenProposal((1, 2)))


@pytest.mark.parametrize("make", [HfTarget, GraphTarget], ids=["hf", "graph"])
def test_a_model_that_knows_no_numbers_at_all_is_refused_before_the_first_text(make):
    model = copy.deepcopy(model_of("llama"))
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(BackendError, match=r"NaN or infinite.*dtype: float32"):
        make(model)


def test_tokens_that_a_model_shuts_out_are_no_damage_and_ties_go_to_the_first():
    logits = torch.tensor(
        [[-torch.inf, 2.0, 2.0], [torch.nan, 1.0, 0.0], [0.0, torch.inf, 0.0], [-torch.inf] * 3]
    )
    assert likeliest(logits).tolist() == [1, -1, -1, -1]
