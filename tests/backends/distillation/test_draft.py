"""A draft that is trained for a tiny target, in seconds."""

import random
from dataclasses import replace

import pytest
import torch

from paceline.backends.distillation.answers import Answer, write_answers
from paceline.backends.distillation.draft import (
    STAGE,
    Settings,
    _Training,
    cut_vocabulary,
    expected_length,
    train_draft,
)
from paceline.backends.distillation.store import State, load
from paceline.backends.graph import GraphDraft, GraphTarget
from paceline.backends.torch.draft import known_tokens
from paceline.backends.transformers.models import HfDraft, HfTarget
from paceline.core.config.load import load_config
from paceline.core.errors import ConfigError
from paceline.core.sampling import Sampling
from paceline.core.testing.backends import check_backend

from ..tiny_models import tiny_model
from ..torch.stand_ins import LETTERS, tokenizer_of

SETTINGS = Settings(minutes=0.3, answer_tokens=12, length=24, rows=4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def target(tmp_path):
    """Return the folder of a tiny target whose next token hangs on the last one alone."""
    model = tiny_model("llama", dtype=torch.float32, vocab_size=27)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    folder = tmp_path / "target"
    model.save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return str(folder)


def prompts(count=60):
    chance = random.Random(0)
    return [tuple(chance.randrange(len(LETTERS)) for _ in range(4)) for _ in range(count)]


def run_of(target, drafts, policy="auto"):
    return load_config({"target": {"backend": "graph", "model": target}, "drafts": drafts, "policy": policy})


def trained(target, out, told=None, **changes):
    run = run_of(target, {"suffix": "suffix"})
    settings = replace(SETTINGS, **changes)
    work = out.with_name("work")
    heard = [] if told is None else told
    return train_draft(run.target, run.build(), prompts(), out, work, settings, heard.append)


def test_a_draft_learns_to_foresee_its_target_and_loads_like_any_other(target, tmp_path):
    told = []
    start = trained(target, tmp_path / "start", minutes=0.0)
    draft = trained(target, tmp_path / "draft", told)

    assert draft.acceptance > start.acceptance + 0.2
    assert {step.stage for step in told} == {"answers", "training"}
    assert draft.acceptance >= max(step.acceptance or 0.0 for step in told) - 0.1
    card = (tmp_path / "draft" / "README.md").read_text()
    assert f"{draft.acceptance:.1%} of the target's tokens" in card
    assert not list(tmp_path.rglob("*.bin"))
    plain = run_of(target, {}).build().generate([1, 2, 3], max_new_tokens=30)
    for backend in ("hf", "graph"):
        drafts = {"mine": {"backend": backend, "model": str(tmp_path / "draft")}}
        with run_of(target, drafts, {"name": "static", "gamma": 3}).build() as decoder:
            written = decoder.generate([1, 2, 3], max_new_tokens=30)
        assert written.tokens == plain.tokens
        assert written.totals.accepted > 0


def test_training_goes_on_from_its_checkpoint(target, tmp_path):
    def stop(step):
        if step.stage == "training" and load(tmp_path / "work") is not None:
            raise KeyboardInterrupt

    run = run_of(target, {"suffix": "suffix"})
    common = (run.target, run.build(), prompts(), tmp_path / "draft", tmp_path / "work", SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train_draft(*common, stop)
    state, _, _ = load(tmp_path / "work")
    answers = (tmp_path / "work" / "answers.jsonl").read_bytes()
    assert state.step > 0
    assert not (tmp_path / "draft").exists()

    draft = train_draft(*common, lambda _step: None)
    assert draft.steps > state.step
    assert list(draft.curve)[: len(state.curve)] == state.curve
    assert (tmp_path / "work" / "answers.jsonl").read_bytes() == answers


def test_training_ends_when_it_no_longer_pays():
    training = _Training(None, 8, [], [], Settings(minutes=10.0), lambda _progress: None)
    training.acceptance = lambda _draft: min(0.6, 0.1 * len(training.measures))
    state = State(stage=STAGE)
    while state.ends_s is None:
        state.seconds += 15.0
        training._look(state, None)

    assert 20 <= len(training.measures) < 30
    assert state.ends_s == pytest.approx(1.2 * state.seconds)
    assert training.plan.progress(state) == pytest.approx(1 / 1.2)


class Written:
    """Answers each prompt with its first token, three times."""

    def __init__(self):
        self.prompts = []

    def generate(self, prompt, max_new_tokens):
        self.prompts.append(tuple(prompt))
        return type("Done", (), {"tokens": (prompt[0],) * 3})


def test_answers_are_written_once_and_a_line_that_was_cut_is_written_anew(tmp_path):
    path, asked = tmp_path / "answers.jsonl", [(1, 2), (3, 4), (1, 2), (5,)]
    first = write_answers(Written(), asked[:3], path, 3, lambda _count: None)
    assert first == [Answer((1, 2), (1, 1, 1)), Answer((3, 4), (3, 3, 3))]
    path.write_bytes(path.read_bytes()[:-5])

    again = Written()
    answers = write_answers(again, asked, path, 3, lambda _count: None)
    assert again.prompts == [(3, 4), (5,)]
    assert [answer.tokens for answer in answers] == [(1, 1, 1), (3, 3, 3), (5, 5, 5)]
    path.write_text('{"prompt": [1], "tokens": ["a"]}\n')
    with pytest.raises(ConfigError, match=r"answers.jsonl:1: no answer of a target"):
        write_answers(again, asked, path, 3, lambda _count: None)


def test_too_few_prompts_are_refused(target, tmp_path):
    run = run_of(target, {"suffix": "suffix"})
    with pytest.raises(ConfigError, match="too few"):
        train_draft(
            run.target, run.build(), prompts(1), tmp_path / "d", tmp_path / "w", SETTINGS, lambda _step: None
        )


def test_a_vocabulary_is_cut_behind_what_the_texts_need_where_that_is_worth_it():
    def texts(last):
        return [Answer((), (*range(200), last)), Answer((), tuple(range(last)))]

    assert cut_vocabulary(texts(1000), 4096) == 1024
    assert cut_vocabulary(texts(3500), 4096) == 4096
    rare = [Answer((), (*([5] * 1000), 4000))]
    assert cut_vocabulary(rare, 4096) == 256


def test_the_expected_length_of_a_round_follows_from_acceptance():
    assert expected_length(0.0) == 1.0
    assert expected_length(1.0) == 5.0
    assert expected_length(0.5) == pytest.approx((1 - 0.5**5) / 0.5)


@pytest.mark.parametrize(("target", "draft"), [(HfTarget, HfDraft), (GraphTarget, GraphDraft)])
def test_a_draft_with_fewer_tokens_than_its_target_reads_the_others_as_its_last_one(target, draft):
    model, small = tiny_model("llama"), tiny_model("llama", vocab_size=40, seed=2)
    check_backend(
        lambda: target(model),
        lambda other: draft(small, vocabulary=other.vocabulary),
        max_examples=6,
        shrink=False,
    )
    assert known_tokens([3, 39, 40, 95], 40) == [3, 39, 39, 39]
    maker = draft(small)
    known, unknown = maker.open([1, 39, 2]), maker.open([1, 90, 2])
    assert known.draft(4, None).tokens == unknown.draft(4, None).tokens
    unknown.advance([77])
    assert len(unknown.draft(4, None).tokens) == 4
    assert max(unknown.draft(4, None).tokens) < 40
    drawn = maker.open_sampled([1, 90, 2], Sampling(temperature=1.0))
    assert len(drawn.draft(4, None)) == 4
