"""A whole recording of a toy run: complete, checked by real rounds, and taken up again after an interruption."""

import dataclasses
import json
import signal
import subprocess
import sys
from itertools import groupby

import pytest

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, TraceError
from paceline.core.proposals import TokenProposal
from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.models import Models
from paceline.lab.recording import timing_sweep
from paceline.lab.recording.reader import parsed, read_recording
from paceline.lab.recording.recorder import Recorder
from paceline.lab.recording.resume import finished
from paceline.lab.recording.run import Settings, record_run
from paceline.lab.recording.timing_sweep import RESTS, SweepPolicy, spread_over
from paceline.lab.short_names import parse_policy, plain_decoder
from paceline.lab.workloads.prompts import Prompt

RUN = {"workload": "toy"}


@pytest.fixture(scope="session")
def settings(catalogue):
    policies = {name: parse_policy(name, catalogue) for name in ("static-2", "online")}
    return Settings(longest=5, policies=policies)


@pytest.fixture(scope="session")
def taken(tmp_path_factory, toy_parts, catalogue, prompts, settings):
    """A finished recording, and what `take` said of it."""
    path = tmp_path_factory.mktemp("taken") / "r.jsonl.zst"
    return path, record_run(toy_parts(), catalogue, prompts, path, settings=settings, run=RUN)


def test_every_prompt_is_recorded_with_every_draft_and_what_rounds_take(taken, prompts):
    path, result = taken
    recording = read_recording(path)
    assert recording.complete
    assert recording.texts.names() == tuple(one.name for one in prompts)
    assert (result.texts, result.before, result.left_out) == (5, 0, {})
    assert result.costs == recording.header.costs
    header = recording.header
    assert (header.longest, header.mode, header.run, header.made_up) == (5, "greedy", RUN, False)
    assert [
        (info.caches, info.short, info.match_lengths, info.scores) for info in header.drafts.values()
    ] == [
        (True, 1, False, True),
        (True, 1, False, True),
        (False, 0, True, True),
    ]
    for text, prompt in zip(recording, prompts, strict=True):
        assert (text.kind, text.prompt_tokens, text.prompt) == (prompt.kind, len(prompt.tokens), None)
        assert list(text.drafts) == ["good", "bad", "lookup"]
        assert text.ended == "eos" or len(text.tokens) == text.max_new_tokens


def test_real_rounds_do_what_was_recorded(taken):
    checks = taken[1].checks
    assert checks.rounds > 40
    assert (checks.count, checks.different) == (0, [])


def test_rounds_of_every_draft_and_length_were_timed(taken):
    costs = taken[1].costs
    assert set(costs.verify) == {1, 2, 3, 4, 5, 6}
    assert {1, 2, 3, 4, 5} <= set(costs.drafts["good"].tokens)
    assert costs.drafts["good"].catch_up
    assert costs.overhead_s > 0.0


def test_each_measured_policy_decoded_every_text_in_the_order_of_the_recording(taken, prompts):
    recording = read_recording(taken[0])
    by_policy = {}
    for one in recording.measured:
        by_policy.setdefault(json.dumps(one.policy), []).append(one)
    assert len(by_policy) == 2
    for measured in by_policy.values():
        assert [one.text for one in measured] == [one.name for one in prompts]
        for one in measured:
            assert one.tokens == len(recording.texts[one.text].tokens)
            assert 0 < one.rounds <= one.tokens
            assert one.seconds > 0.0
            assert one.part == 0


def test_the_recording_says_what_a_static_policy_really_does(taken, toy_parts, prompts):
    """Decode with the real loop, and follow the rounds by the rules of a recording."""
    recording, parts = read_recording(taken[0]), toy_parts()
    for draft in parts.drafts:
        for prompt in prompts:
            decoder = SpeculativeDecoder(parts.target, parts.drafts, ScriptedPolicy([Plan(3, draft)]))
            text = recording.texts[prompt.name]
            starts, lag = text.drafts[draft], text.prompt_tokens - 1
            for done in decoder.rounds(prompt.tokens, max_new_tokens=24):
                drafted = min(done.plan.gamma, starts.offered[done.position])
                agreed = int(starts.agreed[done.position])
                assert done.drafted == drafted
                assert min(done.accepted, len(text.tokens) - done.position) == min(drafted, agreed)
                if recording.header.drafts[draft].caches:
                    assert done.plan.gamma == 0 or done.lag == lag
                    lag = int(done.drafted == done.accepted)
                else:
                    assert done.lag == 0


class StopError(Exception):
    pass


def interrupted(parts, catalogue, prompts, path, settings, *, at, run=RUN):
    """Record until some text is about to be timed."""

    def on_step(step):
        if (step.what, step.text) == ("timing", f"p{at}"):
            raise StopError

    with pytest.raises(StopError):
        record_run(parts, catalogue, prompts, path, settings=settings, run=run, on_step=on_step)


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.zst"])
@pytest.mark.parametrize("cut", [0, 30])
def test_an_interrupted_recording_goes_on_where_it_stopped(
    tmp_path, toy_parts, catalogue, prompts, settings, taken, name, cut
):
    path = tmp_path / name
    interrupted(toy_parts(), catalogue, prompts, path, settings, at=3)
    assert not read_recording(path).complete
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    done = []
    result = record_run(
        toy_parts(),
        catalogue,
        prompts,
        path,
        settings=settings,
        run=RUN,
        on_step=done.append,
    )
    before = 2 if cut else 3
    assert result.before == before
    recorded = [step for step in done if step.what == "recording"]
    assert [(step.text, step.done, step.before, step.texts) for step in recorded] == [
        (f"p{number}", number, before, 5) for number in range(before, 5)
    ]
    assert recorded[0].tokens == 0 < recorded[-1].tokens
    recording, whole = read_recording(path), read_recording(taken[0])
    assert recording.complete
    for one, other in zip(recording, whole, strict=True):
        assert one.tokens == other.tokens
        assert all((one.drafts[name].agreed == other.drafts[name].agreed).all() for name in one.drafts)
    assert [(part, len(list(some))) for part, some in groupby(one.part for one in recording.measured)] == [
        (0, 2 * before),
        (1, 2 * (5 - before)),
    ]


def test_rounds_timed_before_an_interruption_still_count(tmp_path, toy_parts, catalogue, prompts, settings):
    path = tmp_path / "r.jsonl"
    interrupted(toy_parts(), catalogue, prompts, path, settings, at=4)
    record_run(toy_parts(), catalogue, prompts, path, settings=settings, run=RUN)
    lines = [values for _, _, values in parsed(path)]
    assert [one["text"] for one in lines if one["kind"] == "timings"] == [one.name for one in prompts]
    assert [one["kind"] for one in lines].count("end") == 1


def test_an_interrupted_recording_of_another_run_is_left_alone(
    tmp_path, toy_parts, catalogue, prompts, settings
):
    path = tmp_path / "r.jsonl"
    interrupted(toy_parts(), catalogue, prompts, path, settings, at=2)
    before = path.read_bytes()
    others = [
        ({"run": {"workload": "other"}}, "workload differ"),
        ({"settings": dataclasses.replace(settings, longest=4)}, "longest differ"),
        ({"prompts": [prompts[0], Prompt("p1", "code", (9, 9))]}, "the prompt 'p1' was another text"),
    ]
    for change, message in others:
        arguments = {"prompts": prompts, "settings": settings, "run": RUN} | change
        listed = arguments.pop("prompts")
        with pytest.raises(TraceError, match=rf"{message}.*use --force"):
            record_run(toy_parts(), catalogue, listed, path, **arguments)
        assert path.read_bytes() == before
    result = record_run(
        toy_parts(), catalogue, prompts[:1], path, settings=settings, run={"workload": "other"}, replace=True
    )
    assert (result.texts, result.before) == (1, 0)


DIES = """
import os, signal, sys
from pathlib import Path
from paceline.core.config.load import load_config
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.models import load_models
from paceline.lab.workloads.prompts import Prompt
from paceline.lab.recording.run import Settings, record_run

def on_step(step):
    if (step.what, step.text) == ("timing", "p2"):
        os.kill(os.getpid(), signal.SIGKILL)

catalogue, toy, prompts = Catalogue.load(), {toy!r}, {prompts!r}
record_run(
    load_models(load_config(toy, catalogue=catalogue)), catalogue, [Prompt(*prompt) for prompt in prompts],
    Path(sys.argv[1]), settings=Settings(longest=5), run={run!r}, on_step=on_step,
)
"""


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.zst"])
def test_a_recording_whose_process_was_killed_amid_a_text_goes_on(
    tmp_path, toy_run, toy_parts, catalogue, prompts, taken, name
):
    path = tmp_path / name
    listed = [(one.name, one.kind, one.tokens) for one in prompts]
    code = DIES.format(toy=toy_run, prompts=listed, run=RUN)
    done = subprocess.run([sys.executable, "-I", "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_recording(path).texts.names() == ("p0", "p1")
    result = record_run(toy_parts(), catalogue, prompts, path, settings=Settings(longest=5), run=RUN)
    assert (result.texts, result.before) == (5, 2)
    recording = read_recording(path)
    assert recording.complete
    assert [text.tokens for text in recording] == [text.tokens for text in read_recording(taken[0])]


@pytest.mark.parametrize(("first", "then", "names"), [(2, 5, "01234"), (5, 2, "012"), (1, 3, "012")])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_recording_of_more_or_fewer_of_the_same_prompts_is_the_same_run(
    tmp_path, toy_parts, catalogue, prompts, settings, first, then, names, stopped
):
    path = tmp_path / "r.jsonl"
    # Earlier versions wrote the number of prompts into the first line.
    run = RUN | {"prompts": first}
    if stopped or first > then:
        interrupted(toy_parts(), catalogue, prompts[:first], path, settings, at=min(first - 1, 3), run=run)
    else:
        record_run(toy_parts(), catalogue, prompts[:first], path, settings=settings, run=run)
    before = sum(line["kind"] == "text" for *_, line in parsed(path))
    result = record_run(toy_parts(), catalogue, prompts[:then], path, settings=settings, run=RUN)
    recording = read_recording(path)
    assert recording.complete
    assert recording.texts.names() == tuple(f"p{number}" for number in names)
    assert (result.texts, result.before) == (len(names), before)
    assert [line["kind"] for *_, line in parsed(path)].count("end") == 1
    assert finished(path, recording.texts.names())
    assert not finished(path, ["p0", "another"])


def test_timing_takes_one_pass_over_a_text_and_ends_when_every_kind_was_seen_often(
    toy_parts, catalogue, prompts, monkeypatch
):
    monkeypatch.setattr(timing_sweep, "DECKS", 2)
    parts = toy_parts(max_new_tokens=2000)
    parts = Models(parts.config, dataclasses.replace(parts.target, eos_share=0.0), parts.drafts)
    recorder = Recorder(plain_decoder(parts, catalogue), parts.drafts, parts.config.generation.sampling(), 5)
    text = recorder.text(prompts[0], 2000)
    sweep = timing_sweep.TimingSweep(parts, 5, [text.name], use_signals=True)
    timings = sweep.text(text, prompts[0])
    assert len(timings) == 2 * (3 * 5 + sum(RESTS))
    assert timings[0].context > len(prompts[0].tokens)  # it began amid the text
    assert (sweep.checks.rounds, sweep.checks.count) == (len(timings), 0)
    assert sweep.text(dataclasses.replace(text, name="not chosen"), prompts[0]) == []


def test_rounds_of_the_policies_that_are_measured_make_the_profile_too(
    tmp_path, toy_parts, catalogue, prompts, settings
):
    path = tmp_path / "recording.jsonl"
    record_run(toy_parts(), catalogue, prompts[:2], path, settings=settings, run=RUN)
    lines = [line for *_, line in parsed(path)]
    rounds = sum(line["rounds"] for line in lines if line["kind"] == "measured")
    timings = [timing for line in lines if line["kind"] == "timings" for timing in line["rounds"]]
    without_rest = [timing for timing in timings if timing[-1] is None]
    sweeps = len(timings) - rounds
    assert rounds > 0
    # A policy's own share is not the loop's; nor is the prompt, which the first round of each sweep reads.
    assert rounds < len(without_rest) < rounds + sweeps


def test_whether_a_recording_is_finished_is_told_without_loading_a_model(tmp_path, taken):
    assert finished(taken[0])
    assert not finished(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    assert not finished(tmp_path / "empty.jsonl")
    (tmp_path / "notes.jsonl").write_text("shopping list\n")
    with pytest.raises(TraceError, match=r"this is no recording.*use --force"):
        finished(tmp_path / "notes.jsonl")


def test_a_draft_that_does_something_else_each_time_is_refused(
    tmp_path, toy_parts, catalogue, prompts, settings
):
    class Fickle:
        """Proposes the right token in every other call, whatever the context."""

        signals = frozenset()
        memoryless = True
        calls = 0

        def __init__(self, target):
            self.target = target

        def open(self, prompt):
            session = Fickle(self.target)
            session.context = list(prompt)
            return session

        lag = 0

        def draft(self, gamma, control):
            Fickle.calls += 1
            token = self.target.next(self.context)
            return TokenProposal((token if Fickle.calls % 2 else 1 + token % 26,))

        def advance(self, tokens):
            self.context += tokens

        def close(self):
            pass

    parts = toy_parts()
    fickle = Models(parts.config, parts.target, {"fickle": Fickle(parts.target)})
    path = tmp_path / "r.jsonl"
    with pytest.raises(
        TraceError, match=r"real rounds did something else than was recorded.*'draft': 'fickle'"
    ):
        record_run(
            fickle, catalogue, prompts, path, settings=dataclasses.replace(settings, policies={}), run=RUN
        )
    assert not read_recording(path).complete


def test_a_policy_that_does_not_fit_is_left_out_with_its_reason(tmp_path, toy_parts, catalogue, prompts):
    policies = {"svip": parse_policy("svip", catalogue), "static-1": parse_policy("static-1", catalogue)}
    parts = toy_parts()
    lookup = Models(parts.config, parts.target, {"lookup": parts.drafts["lookup"]})
    settings = Settings(longest=3, policies=policies)
    result = record_run(lookup, catalogue, prompts[:1], tmp_path / "r.jsonl", settings=settings, run=RUN)
    assert list(result.left_out) == ["svip"]
    assert len(read_recording(tmp_path / "r.jsonl").measured) == 1


def test_a_prompt_that_leaves_no_room_is_named_before_anything_is_recorded(
    tmp_path, toy_parts, catalogue, prompts, settings
):
    parts = toy_parts()
    target = dataclasses.replace(parts.target, max_context=len(prompts[-1].tokens))
    short = Models(parts.config, target, parts.drafts)
    with pytest.raises(
        BackendError, match=r"the prompt 'p4' has 9 tokens and the target's context ends at 9"
    ):
        record_run(short, catalogue, prompts, tmp_path / "r.jsonl", settings=settings, run=RUN)
    assert not (tmp_path / "r.jsonl").exists()


def test_a_context_that_ends_is_the_limit_of_a_text(tmp_path, toy_parts, catalogue, prompts):
    parts = toy_parts()
    target = dataclasses.replace(parts.target, max_context=12, eos_share=0.0)
    short = Models(parts.config, target, parts.drafts)
    record_run(short, catalogue, prompts[:1], tmp_path / "r.jsonl", settings=Settings(longest=3), run=RUN)
    (text,) = read_recording(tmp_path / "r.jsonl")
    assert (text.ended, text.max_new_tokens, len(text.tokens)) == ("length", 7, 7)


def test_without_signals_and_measuring_the_rest_is_the_same(tmp_path, toy_parts, catalogue, prompts, taken):
    path = tmp_path / "r.jsonl"
    settings = Settings(longest=5, signals=False, keep_prompts=True)
    record_run(toy_parts(), catalogue, prompts, path, settings=settings, run=RUN)
    bare = read_recording(path)
    assert bare.measured == ()
    for one, other, prompt in zip(bare, read_recording(taken[0]), prompts, strict=True):
        assert one.prompt == prompt.tokens
        for name, starts in one.drafts.items():
            assert not starts.signals
            assert (starts.agreed == other.drafts[name].agreed).all()
            assert (starts.offered == other.drafts[name].offered).all()


def test_a_sampled_run_is_recorded_with_probabilities(tmp_path, toy_parts, catalogue, prompts):
    path = tmp_path / "r.jsonl"
    record_run(toy_parts(temperature=1.0), catalogue, prompts, path, settings=Settings(longest=4), run=RUN)
    recording = read_recording(path)
    assert recording.header.mode == "sampled"
    for text in recording:
        assert text.drafts["good"].acceptance_probs is not None
        assert text.drafts["lookup"].acceptance_probs is None


def test_short_texts_are_tried_until_everything_was_measured(tmp_path, toy_parts, catalogue, prompts):
    parts = toy_parts(max_new_tokens=3)
    result = record_run(
        parts, catalogue, prompts[:1], tmp_path / "r.jsonl", settings=Settings(longest=2), run=RUN
    )
    assert set(result.costs.drafts) == set(parts.drafts)


def test_a_single_token_is_too_short_to_measure_and_that_is_said(tmp_path, toy_parts, catalogue, prompts):
    parts = toy_parts(max_new_tokens=1)
    with pytest.raises(TraceError, match="too few rounds to tell what they take"):
        record_run(parts, catalogue, prompts[:1], tmp_path / "r.jsonl", settings=Settings(), run=RUN)


def test_a_deck_holds_everything_once(toy_parts, prompts):
    parts = toy_parts(max_new_tokens=1000)
    sweep = SweepPolicy(["good", "bad"], [1, 2, 3], 0, use_signals=True)
    decoder = SpeculativeDecoder(parts.target, parts.drafts, sweep, eos=frozenset())
    rounds = decoder.rounds([1, 2], max_new_tokens=1000)
    gammas = [(done.plan.draft, done.plan.gamma) for done in rounds]
    deck = 6 + sum(RESTS)
    for begin in range(0, len(gammas) - deck - 10, deck):
        dealt = gammas[begin : begin + deck]
        assert sorted(pair for pair in dealt if pair[1]) == sorted(
            (d, g) for d in ("good", "bad") for g in (1, 2, 3)
        )


def test_few_of_many_are_spread_over_all():
    names = [f"t{number}" for number in range(100)]
    assert sorted(int(name[1:]) for name in spread_over(names, 4)) == [0, 25, 50, 75]
    assert spread_over(names, 100) == spread_over(names, 500) == frozenset(names)
