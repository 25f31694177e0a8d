"""The same models on several backends, side by side."""

from typing import ClassVar, Literal

import pytest

from paceline import Catalogue, hookimpl
from paceline.backends import prompt_lookup as lookup
from paceline.backends import toy
from paceline.cli.bench_tables import backends_table
from paceline.core.config.blocks import BackendConfig
from paceline.core.config.load import load_config
from paceline.core.errors import ConfigError
from paceline.lab.bench.backends import on_backend, side_by_side
from paceline.lab.bench.run import Bench
from paceline.lab.bench.summary import summarise
from paceline.lab.workloads.prompts import Prompt
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig


class Named(BackendConfig):
    """A toy that is known by a name, as models are, of a library that has a way to decode of its own."""

    roles: ClassVar = frozenset({"target", "draft"})
    model: str
    seed: int = 3

    def build_target(self):
        return toy.ToyConfig(seed=self.seed).build_target()

    def build_draft(self, target):
        return toy.ToyConfig().build_draft(target)

    def reference_modes(self, run, target, draft):
        return {"own way": lambda tokens, most: plainly(target, tokens, most)}


class SlowConfig(Named):
    backend: Literal["slow"] = "slow"
    only_slow: int = 0


class FastConfig(Named):
    backend: Literal["fast"] = "fast"


class EitherConfig(Named):
    """Chooses between the two by itself."""

    backend: Literal["either"] = "either"
    model: str = "either"
    engine: Literal["slow", "fast"] = "slow"


class Plugin:
    @hookimpl
    def register_policies(self):
        return [StaticConfig, OnlineConfig]

    @hookimpl
    def register_backends(self):
        return [toy.ToyConfig, lookup.PromptLookupConfig, SlowConfig, FastConfig, EitherConfig]


CATALOGUE = Catalogue.load([Plugin()], installed=False)


def plainly(target, tokens, most):
    session, found = target.open(tokens), []
    while len(found) < most and not (found and found[-1] in target.eos):
        new = session.verify(None).tokens
        session.advance(new)
        found += new
    return found


def run_of(target, drafts):
    return load_config({"target": target, "drafts": drafts, "policy": "online"}, catalogue=CATALOGUE)


RUN = run_of(
    {"backend": "slow", "model": "m", "only_slow": 4},
    {"small": {"backend": "slow", "model": "s"}, "lookup": "prompt-lookup", "good": "toy"},
)


def test_models_move_with_the_options_that_both_know_and_the_rest_stays():
    found = on_backend(RUN, "fast", CATALOGUE)

    assert found.target == FastConfig(model="m")
    assert found.drafts["small"] == FastConfig(model="s")
    assert found.drafts["lookup"] == RUN.drafts["lookup"]
    assert found.drafts["good"] == RUN.drafts["good"]
    assert on_backend(RUN, "slow", CATALOGUE).target == RUN.target


def test_a_block_that_chooses_by_itself_is_told():
    run = run_of({"backend": "either", "seed": 5}, {"small": {"backend": "either"}})
    assert on_backend(run, "fast", CATALOGUE).target == EitherConfig(engine="fast", seed=5)
    with pytest.raises(ConfigError, match=r"--backends steam: .*engine.*'slow' or 'fast'"):
        on_backend(run, "steam", CATALOGUE)


def test_what_cannot_move_is_refused():
    with pytest.raises(ConfigError, match="a target with `backend: toy` cannot be on 'fast'"):
        on_backend(run_of("toy", {"good": "toy"}), "fast", CATALOGUE)
    with pytest.raises(ConfigError, match="no backend named 'steam'; installed: either, fast"):
        on_backend(RUN, "steam", CATALOGUE)
    for names in (["slow"], ["slow", "slow"]):
        with pytest.raises(ConfigError, match="two backends or more, each once"):
            side_by_side(RUN, names, CATALOGUE, [])


def test_every_mode_of_a_further_backend_is_compared_with_its_twin():
    run = run_of({"backend": "slow", "model": "m"}, {"small": {"backend": "slow", "model": "s"}})
    choice, first = side_by_side(run, ["slow", "fast"], CATALOGUE, ["static-2", "own way"])

    assert list(choice.modes) == ["plain", "static-2", "own way", "plain @fast", "static-2 @fast"]
    assert choice.twins == {"plain @fast": "plain", "static-2 @fast": "static-2"}
    assert choice.policies["static-2 @fast"] == choice.policies["static-2"]
    assert choice.first_backend == "slow"
    assert first.target == run.target
    bench = Bench(choice.modes, [Prompt("p", "kind", (1, 2)), Prompt("q", "kind", (3,))], 12)
    list(bench.run())
    summary = summarise(bench, choice)

    assert summary.over_twin().keys() == choice.twins.keys()
    assert summary.different == []
    rates = {row.policy: row.all.tokens_per_second for row in summary.rows}
    assert summary.over_twin()["plain @fast"].value == pytest.approx(rates["plain @fast"] / rates["plain"])
    assert len(backends_table(summary).rows) == 2
    choice.twins.clear()
    assert backends_table(summarise(bench, choice)) is None
