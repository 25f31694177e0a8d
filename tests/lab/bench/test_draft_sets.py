"""Sets of drafts side by side, and the one to use."""

import pytest

from paceline.core.config.load import load_config
from paceline.core.generation import Totals
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.draft_sets import blocks, choose_sets, draft_sets, find, label
from paceline.lab.bench.run import BASE, Bench, Timed
from paceline.lab.bench.summary import summarise
from paceline.lab.models import load_models
from paceline.lab.workloads.prompts import Prompt

DRAFTS = ("small", "lookup", "suffix")
PROMPTS = 6


class Taking:
    """Takes so many seconds, by prompt."""

    def __init__(self, name, seconds):
        self.name, self.seconds = name, seconds

    def run(self, prompt, max_new_tokens):
        seconds = self.seconds[prompt[0] % len(self.seconds)]
        return Timed(seconds, tuple(range(50)), Totals(emitted=50, seconds=seconds))


def found(prompts=PROMPTS, **seconds):
    """Return what is found where sets of drafts take so long, and plain decoding and all others a second."""
    times = {label(names): [1.0] for names in draft_sets(DRAFTS)} | {BASE: [1.0]}
    times |= {label(names.split("_")): listed for names, listed in seconds.items()}
    modes = {name: Taking(name, listed) for name, listed in times.items()}
    bench = Bench(modes, [Prompt(str(n), "code", (n,)) for n in range(prompts)], 50)
    list(bench.run())
    return find(summarise(bench, Choice()), DRAFTS)


def test_each_draft_is_tried_alone_and_in_pairs_but_no_two_models():
    assert draft_sets(["a", "b", "lookup"]) == [("a",), ("b",), ("lookup",), ("a", "lookup"), ("b", "lookup")]


def test_the_fastest_set_is_used_where_it_is_surely_faster():
    finding = found(small_lookup=[0.5], small=[0.7])
    assert (finding.drafts, finding.speedup.value) == (("small", "lookup"), pytest.approx(2.0))
    assert "Use small and lookup: 2.00× (2.00–2.00) plain decoding over 6 prompts." in finding.sentences()


def test_a_simpler_set_is_used_where_it_is_not_surely_slower():
    finding = found(lookup=[0.50, 0.52, 0.48], small_lookup=[0.49, 0.48, 0.51], small=[0.8])
    assert (finding.drafts, finding.fastest) == (("lookup",), ("small", "lookup"))
    assert "not surely" in finding.sentences()


def test_plain_decoding_is_used_where_nothing_is_surely_faster():
    finding = found(lookup=[0.5, 1.5, 1.5, 0.5, 1.5, 1.4])
    assert finding.drafts == ()
    assert finding.sentences().startswith("Nothing pays")


def test_few_prompts_are_no_reason_for_a_choice():
    assert found(prompts=4, suffix=[0.5]) is None


def test_sets_decode_with_their_drafts_alone_and_become_a_run():
    run = load_config(
        {
            "target": {"backend": "toy", "seed": 3},
            "drafts": {"small": {"backend": "toy", "agreement": 1.0}, "lookup": "prompt-lookup"},
            "policy": {"name": "static", "gamma": 4},
        }
    )
    parts = load_models(run)
    choice = choose_sets(parts, Catalogue.load())
    bench = Bench(choice.modes, [Prompt(str(n), "toy", (1, 2, n)) for n in range(5)], 30)
    list(bench.run())

    summary = summarise(bench, choice)
    drafts = {row.policy: set(row.totals.drafts) - {""} for row in summary.rows}
    assert drafts["with small"] == drafts["with small + lookup"] == {"small"}
    assert drafts["with lookup"] <= {"lookup"}
    assert not summary.different
    finding = find(summary, run.drafts)
    values = blocks(finding, parts)
    again = load_config(values)
    assert again.target == run.target
    assert dict(again.drafts) == {name: run.drafts[name] for name in finding.drafts}
