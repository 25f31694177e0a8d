"""Processors and criteria written for a batch are shown one row of it, and serves it rightly or is refused by name."""

import gc
import time
import weakref

import pytest
import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation.stopping_criteria import MaxTimeCriteria

import paceline.hf
from paceline.core.errors import BackendError

from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

MODEL = tiny_model("llama")
DRAFT = noisy_copy(MODEL)
IDS = torch.tensor([[3, 1, 4], [1, 5, 9], [2, 6, 5]])
SHARED = {
    "max_new_tokens": 12, "pad_token_id": 0, "eos_token_id": 95, "do_sample": False,
    "attention_mask": torch.ones_like(IDS),
}  # fmt: skip


def plain(ids=IDS, **options):
    return MODEL.generate(ids, **{**SHARED, **options}).tolist()


def fast(ids=IDS, **options):
    loop = paceline.hf.adaptive(DRAFT, policy={"name": "static", "gamma": 4})
    return MODEL.generate(ids, **{**SHARED, **options}, custom_generate=loop).tolist()


def criteria(*those):
    return {"stopping_criteria": StoppingCriteriaList(those)}


def processors(*those):
    return {"logits_processor": LogitsProcessorList(those)}


class Lengths:
    """Ends each row at a length of its own."""

    limits = torch.tensor([5, 12, 8])

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.shape[1] >= self.limits


class Words(Lengths):
    """Ends each row at a token of its own, found by the number of the row."""

    words = (17, 40, 61)

    def __call__(self, input_ids, scores, **kwargs):
        return torch.tensor([self.words[at] in row[3:] for at, row in enumerate(input_ids.tolist())])


class Bans:
    """Bans a token of its own in each row, and counts its calls."""

    def __init__(self):
        self.calls = torch.zeros(3, dtype=torch.long)

    def __call__(self, input_ids, scores):
        self.calls += 1
        for row in range(len(scores)):
            scores[row, input_ids[row, -1]] = -torch.inf
            scores[row, 30 * row : 30 * row + int(self.calls[row])] -= 2.0
        return scores


def test_a_value_for_each_row_is_that_of_the_row():
    for given in (criteria(Lengths()), criteria(Words()), criteria(Lengths(), Words())):
        assert fast(**given) == plain(**given)
    assert fast(**processors(Bans())) == plain(**processors(Bans()))
    tensors = {"encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 1}
    assert fast(**tensors) == plain(**tensors)


def test_scores_that_a_criterion_reads_are_those_of_the_row():
    class Sure:
        def __call__(self, input_ids, scores, **kwargs):
            return scores[-1].softmax(-1).amax(-1) > torch.tensor([0.3, 0.9, 0.5])

    given = {"return_dict_in_generate": True, "output_scores": True, **criteria(Sure())}
    loop = paceline.hf.adaptive(DRAFT, policy={"name": "static", "gamma": 4})
    found = MODEL.generate(IDS, **{**SHARED, **given}, custom_generate=loop)
    assert found.sequences.tolist() == MODEL.generate(IDS, **{**SHARED, **given}).sequences.tolist()


@pytest.mark.parametrize(
    "answer",
    [
        lambda ids: bool(ids[0, -1] == 7),
        lambda ids: (ids[:, -1] == 7).any(),
        lambda ids: ids[:1, -1] == 7,
        lambda ids: ids[:, -2:] == 7,
        lambda ids: None,
    ],
)
def test_an_answer_for_the_whole_batch_is_refused_by_name(answer):
    class Whole:
        def __call__(self, input_ids, scores, **kwargs):
            return answer(input_ids)

    with pytest.raises(BackendError, match=r"Whole answers .*one truth value a row.*for each row"):
        fast(**criteria(Whole()))


def test_the_answer_for_a_single_row_may_be_what_generate_takes():
    row = {"attention_mask": None}
    token = plain(IDS[:1], **row)[0][8]
    for answer in (lambda ids: bool(ids[0, -1] == token), lambda ids: ids[0, -1] == token):
        given = criteria(lambda ids, scores, **_: answer(ids))  # noqa: B023 - used at once
        assert fast(IDS[:1], **row, **given) == plain(IDS[:1], **row, **given)
    with pytest.raises(BackendError, match=r"shape .3,. for a single row"):
        fast(IDS[:1], **row, **criteria(Lengths()))


def test_scores_of_another_shape_are_refused_by_name():
    class Loses:
        def __call__(self, input_ids, scores):
            return None if len(scores) == 1 else scores[:1]

    for ids, mask in ((IDS, SHARED["attention_mask"]), (IDS[:1], None)):
        with pytest.raises(BackendError, match=r"Loses returns .*one row of scores"):
            fast(ids, attention_mask=mask, **processors(Loses()))


def test_what_fails_on_a_row_says_that_it_was_shown_one_row():
    class Picky:
        def __call__(self, input_ids, scores):
            if input_ids[0].equal(input_ids[1]):
                raise ValueError("rows must differ")
            return scores

    with pytest.raises(ValueError, match="rows must differ") as caught:
        fast(**processors(Picky()))
    assert "Picky was shown row 0 in the place of every row" in caught.value.__notes__[0]


def test_each_row_has_all_of_the_time_as_in_generate(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    hook = MODEL.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + 1.0))
    loop = paceline.hf.adaptive("lookup", policy={"name": "static", "gamma": 0})
    try:
        MODEL.generate(IDS[:1], max_new_tokens=1, custom_generate=loop, pad_token_id=0)  # the model is tried
        now[0] = 1000.0
        found = MODEL.generate(
            IDS, **{**SHARED, "max_new_tokens": 40}, **criteria(MaxTimeCriteria(36.0)), custom_generate=loop
        )
    finally:
        hook.remove()
    lengths = [sum(token != 0 for token in row[3:]) for row in found.tolist()]
    assert max(lengths) - min(lengths) <= 2
    assert 30 <= min(lengths) <= 37  # each prompt is read by itself


def passes(model, work):
    """Return how many forward passes some work takes, and how many rows and tokens of text they are given."""
    shapes = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: shapes.append(given["input_ids"].shape), with_kwargs=True
    )
    try:
        work()
    finally:
        hook.remove()
    return len(shapes), shapes


@pytest.mark.parametrize("returned", [1, 3])
def test_rows_share_their_passes(returned):
    loop = paceline.hf.adaptive(DRAFT, policy={"name": "static", "gamma": 4})

    def work(rows):
        mask = SHARED["attention_mask"][:rows]
        drawn = {} if returned == 1 else {"do_sample": True, "top_k": 1, "num_return_sequences": returned}
        given = {**SHARED, "eos_token_id": None, "attention_mask": mask, **drawn}
        MODEL.generate(IDS[:rows], **given, custom_generate=loop)

    work(1)  # the model is tried
    alone, _ = passes(MODEL, lambda: work(1))
    together, shapes = passes(MODEL, lambda: work(3))
    # Beside the passes that are shared, each row reads its prompt.
    assert together < 2 * (alone + 3 * returned)
    assert max(rows * tokens for rows, tokens in shapes) >= 3 * returned


def test_one_row_is_shown_round_by_round_beside_the_others():
    shown = []
    loop = paceline.hf.adaptive(
        DRAFT,
        policy={"name": "static", "gamma": 2},
        on_round=lambda row, done: shown.append((row, done.tokens)),
    )
    found = MODEL.generate(IDS, **SHARED, custom_generate=loop).tolist()
    assert [row for row, _ in shown[:6]] == [0, 1, 2, 0, 1, 2]
    for number, text in enumerate(found):
        written = [token for row, tokens in shown if row == number for token in tokens]
        assert written == text[3 : 3 + len(written)]


def test_a_model_that_shares_no_passes_is_decoded_row_by_row_and_that_is_said_once(capsys):
    model = tiny_model("mistral")
    loop = paceline.hf.adaptive(noisy_copy(model), policy={"name": "static", "gamma": 3}, engine="hf")
    for _ in range(2):
        found = model.generate(IDS, **SHARED, custom_generate=loop)
        assert found.tolist() == model.generate(IDS, **SHARED).tolist()
    assert capsys.readouterr().out.count("passes_not_shared") == 1


def test_what_is_learnt_of_shared_passes_keeps_no_model_alive():
    model = tiny_model("llama")
    loop = paceline.hf.adaptive("lookup", policy="auto")
    model.generate(IDS, **SHARED, custom_generate=loop)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
