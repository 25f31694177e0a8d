"""What a request may ask for, and what it may not."""

import pytest

from paceline.core.sampling.settings import GREEDY, Sampling


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0.0 .greedy., or 0.001 and more, found -1.0"),
        ({"temperature": 1e-9}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": float("inf")}, "temperature must be"),
        ({"top_k": 0}, "top_k must be at least 1, found 0"),
        ({"top_p": 0.0}, "top_p must be in"),
        ({"top_p": 95}, "top_p must be in"),
        ({"min_p": 1.1}, "min_p must be in"),
        ({"typical_p": 1.0}, "typical_p must be in"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty must be above 0"),
        ({"temperature": 0.0, "top_p": 0.9}, "top_p must be left out at temperature 0.0, which is greedy"),
        ({"temperature": 0.0, "top_k": 5}, "top_k must be left out"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**values)


def test_only_greedy_decoding_with_nothing_applied_is_plain():
    assert GREEDY.plain
    assert Sampling(temperature=0.0, seed=3).plain
    assert not Sampling(temperature=0.0, repetition_penalty=1.1).plain
    assert not Sampling().plain


def test_the_seed_of_a_role_depends_on_seed_and_role_and_never_changes():
    assert Sampling(seed=3).of("target").seed == 6479489952691279375
    seeds = {
        Sampling(seed=seed).of(role).seed for seed in range(20) for role in ("target", "draft a", "draft b")
    }
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)
