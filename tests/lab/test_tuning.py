"""Tuning: chosen on one half, judged on the other, and nothing claimed that may be chance."""

import json
import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest

from paceline import load_config
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.figures import Time
from paceline.lab.results import Results
from paceline.lab.tuning import engine_flags, halves, paragraph, run_file, tune, variations


def with_policy(results, label, options, like, factor):
    """Return the results with a policy added or replaced: as fast as another one times a factor by text."""
    changed = Results(results.source, {**results.options, label: options}, passes={**results.passes})
    for key, listed in results.where(policy=like).passes.items():
        changed.passes[key._replace(policy=label)] = [
            replace(one, policy=label, seconds=one.seconds * factor(one.text)) for one in listed
        ]
    return changed


def sample(made, *, factors=None, texts=24, keep=None):
    """Return the main setting of a sample, with the seconds of some policies multiplied."""
    results = made(texts=texts).results.where(order="shuffled")
    for label, factor in (factors or {}).items():
        results = with_policy(results, label, results.options[label], label, factor)
    return results.only([key for key in results.passes if keep is None or key.policy in keep])


def with_auto(results, like, factor):
    """Add the default policy, as fast as another one times a factor by text."""
    return with_policy(results, "auto", {"name": "auto"}, like, factor)


def test_halves_hold_every_text_once_and_the_same_kinds():
    outcomes = [
        SimpleNamespace(text=f"{kind}/{n}", kind=kind)
        for kind, count in (("a", 7), ("b", 5), ("c", 4))
        for n in range(count)
    ]
    one, other = halves(outcomes)

    assert sorted(one + other) == sorted(o.text for o in outcomes)
    assert abs(len(one) - len(other)) <= 1
    for kind in "abc":
        counts = [sum(text.startswith(kind) for text in part) for part in (one, other)]
        assert abs(counts[0] - counts[1]) <= 1
    assert halves(outcomes[::-1]) == halves(outcomes)


def test_a_policy_that_is_surely_faster_than_the_default_is_chosen(made):
    one = with_auto(sample(made, factors={"aimd": lambda _: 0.5}), "static-3", lambda _: 1.0)
    found = tune(one)

    assert (found.label, found.why, found.simplest) == ("aimd", "faster", "auto")
    assert found.gain.low > 1.0
    assert "Use aimd." in paragraph(found)


def test_within_noise_the_default_is_kept(made):
    one = with_auto(sample(made), "static-3", lambda _: 1.0)
    # The other one is faster on the tuning texts, and slower by as much on the judging texts.
    tuning, _ = halves(one.where(policy="static-0"))
    one = with_policy(one, "gate", {"name": "gate"}, "auto", lambda text: 0.9 if text in tuning else 1.1)
    found = tune(one)

    assert (found.label, found.why, found.fastest) == ("auto", "noise", "gate")
    assert "may be chance" in paragraph(found)


def test_a_gain_smaller_than_what_the_replay_is_off_by_is_not_believed(made):
    one = with_auto(sample(made, factors={"aimd": lambda _: 0.92}), "aimd", lambda _: 1.0 / 0.92)

    assert tune(one, miss=0.04).label == "aimd"
    found = tune(one, miss=0.2)
    assert (found.label, found.why) == ("auto", "noise")
    assert "less than what the replay is off by" in paragraph(found)
    assert "differ by up to 20%" in paragraph(found)


def test_where_nothing_beats_plain_decoding_it_is_chosen_and_said(made):
    slow = {label: lambda _: 3.0 for label in ("aimd", "gate", *(f"static-{g}" for g in range(1, 7)))}
    found = tune(sample(made, factors=slow))

    assert (found.label, found.why) == ("static-0", "plain")
    assert found.policy == {"name": "static", "gamma": 0}
    assert found.speedup.value < 1.0
    assert paragraph(found).startswith("Decode plainly.")


def test_without_the_default_policy_the_best_static_gamma_is_the_simplest_choice(made):
    found = tune(sample(made, keep=("static-0", "aimd")), hindsight=made(texts=24).hindsight)

    assert found.simplest == found.best_static
    assert found.best_static not in {"static-0", "aimd"}


def test_too_few_texts_are_refused_with_the_remedy(made):
    with pytest.raises(ConfigError, match="at least 10; record more"):
        tune(sample(made, texts=4))


def test_variations_count_and_can_win(made):
    one = with_auto(sample(made), "static-3", lambda _: 1.0)
    asked = []

    def vary(policies, most):
        asked.append((list(policies), most))
        times = {each.text: Time(each.tokens, each.seconds * 0.4) for each in one.where(policy="static-0")}
        return {"auto:max_gamma=8": ({"name": "auto", "max_gamma": 8}, times)}

    found = tune(one, vary=vary, tries=5)

    assert asked[0][1] == 5
    assert len(asked[0][0]) == 3
    assert (found.label, found.variations) == ("auto:max_gamma=8", 1)
    assert "and 1 of the best with other options" in paragraph(found)


def test_variations_halve_and_double_numbers_within_their_range_and_take_turns():
    blocks = {
        "online": {"name": "online", "window": 10},
        "gate": {"name": "gate", "policy": {"name": "online", "window": 4}},
    }
    found = variations(blocks, Catalogue.load(), most=3)

    assert [*found] == ["online:window=5", "gate:policy.window=2", "online:window=20"]
    assert found["gate:policy.window=2"]["policy"] == {"name": "online", "window": 2}
    assert len(variations(blocks, Catalogue.load(), most=100)) == 4


def test_the_run_file_loads_and_says_where_it_comes_from(made, tmp_path):
    found = tune(with_auto(sample(made), "static-3", lambda _: 1.0))
    path = tmp_path / "tuned.yaml"
    path.write_text(run_file(found, origin="replay.jsonl"), encoding="utf-8")

    assert load_config(path).policy.name == found.policy["name"]
    head = path.read_text().splitlines()
    assert head[0].startswith("# Written by `paceline tune` from replay.jsonl.")
    assert all(len(line) <= 100 for line in head)


DRAFTS = {
    "small": {"backend": "hf", "model": "org/small"},
    "lookup": {"backend": "prompt-lookup"},
    "memory": {"backend": "suffix"},
    "table": {"backend": "toy"},
}


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (
            None,
            ("--model-draft org/small --spec-draft-n-max 4", '"draft_model"', "--speculative-num-steps 4 "),
        ),
        (
            "lookup",
            ("ngram-simple-size-m 4", '"prompt_lookup_max": 3', "NGRAM --speculative-num-draft-tokens 5"),
        ),
        ("memory", ("ngram-simple", '"method": "suffix"', "NGRAM")),
        ("table", ("--model-draft DRAFT", '"model": "DRAFT"', "STANDALONE")),
    ],
)
def test_engines_with_fixed_lengths_are_given_the_best_static_choice(draft, expected):
    flags = engine_flags({"name": "static", "gamma": 4, "draft": draft}, DRAFTS)
    assert list(flags) == ["llama.cpp", "vLLM", "SGLang"]
    assert all(part in options for part, options in zip(expected, flags.values(), strict=True))
    options, config = shlex.split(flags["vLLM"])
    assert options == "--speculative-config"
    assert json.loads(config)["num_speculative_tokens"] == 4


def test_there_are_no_flags_for_plain_decoding():
    assert engine_flags({"name": "static", "gamma": 0}, DRAFTS) == {}
