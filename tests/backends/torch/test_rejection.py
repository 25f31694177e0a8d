"""The rejection rule on tensors is that in plain Python, outcome by outcome."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.torch.sampling import DeviceRng, accept_or_redraw
from paceline.core import rejection_sampling
from paceline.core.testing.enumeration import outcomes

from ..exact import apart, every_outcome

SIZE = 4
weights = st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE).filter(any)
rows = weights.map(lambda numbers: [number / sum(numbers) for number in numbers])


@st.composite
def rounds(draw):
    """Target and draft distributions, and tokens that the draft may have drawn."""
    count = draw(st.integers(1, 3))
    draft_probs = draw(st.lists(rows, min_size=count, max_size=count))
    tokens = [draw(st.sampled_from([token for token in range(SIZE) if row[token]])) for row in draft_probs]
    return draw(st.lists(rows, min_size=count + 1, max_size=count + 1)), draft_probs, tokens


@settings(deadline=None, max_examples=60)
@given(made=rounds(), known=st.booleans(), programs=st.booleans())
def test_both_rules_give_the_same_verdicts_with_the_same_probabilities(made, known, programs):
    target_probs, draft_probs, tokens = made

    def plainly(rng):
        verdict = rejection_sampling.rejection_sample(
            tokens, draft_probs if known else None, iter(target_probs), rng
        )
        return verdict.tokens

    def on_tensors():
        p, q = (torch.tensor(each, dtype=torch.float64) for each in (target_probs, draft_probs))
        certain, block = None, torch.tensor(tokens)
        if programs:
            # As programs of a fixed shape have it: more places than tokens, and the rest is whatever was there.
            p, q = torch.cat([p, p[:1]]), torch.cat([q, torch.zeros(1, SIZE, dtype=torch.float64)])
            certain, block = torch.tensor([not known]), torch.cat([block, torch.tensor([0])])
        elif not known:
            q = None
        accepted, drawn = accept_or_redraw(p, q, block, len(tokens), DeviceRng(torch.device("cpu")), certain)
        return (*tokens[: int(accepted)], int(drawn))

    with pytest.MonkeyPatch.context() as patch:
        assert apart(every_outcome(on_tensors, patch), outcomes(plainly)) < 1e-12


def test_draws_and_acceptances_fall_as_often_as_they_should():
    rng, count = DeviceRng(torch.device("cpu")), 40_000
    rng.seed(3)
    weights = torch.tensor([0.5, 0.0, 0.3, 0.2])
    drawn = rng.draw(weights.expand(count, 4)).bincount(minlength=4)
    assert drawn[1] == 0
    assert (drawn / count).tolist() == pytest.approx(weights.tolist(), abs=0.01)
    for p, q, share in ((0.3, 0.6, 0.5), (0.0, 0.5, 0.0), (0.5, 0.5, 1.0), (0.9, 0.2, 1.0)):
        accepted = rng.accept(torch.full((count,), p), torch.full((count,), q))
        assert float(accepted.float().mean()) == pytest.approx(share, abs=0.01 if 0 < share < 1 else 0)
