"""Sessions that share their passes say what each says alone, whoever else joins, leaves or fails."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph import GraphDraft, GraphTarget
from paceline.backends.torch.passes import run_together
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.errors import BackendError
from paceline.core.optional_protocols import BatchDraft, BatchTarget
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.records import StopRule
from paceline.core.sampling import Sampling

from ..exact import DRAWN, apart, every_outcome, texts
from ..graph import pairs as graph
from ..tiny_models import VOCABULARY, tiny_model
from ..transformers import pairs as hf

torch.set_num_threads(1)

PAIRS = {"graph": graph, "hf": hf}
FAMILIES = {"graph": [*graph.FAMILIES], "hf": ["llama", "qwen2", "qwen3", "gpt2", "opt", "gpt_neox", "phi3"]}
ROLES = {"graph": (GraphTarget, GraphDraft), "hf": (HfTarget, HfDraft)}
either = pytest.mark.parametrize("engine", PAIRS)

PROMPTS = [tuple((11 + 3 * row + 7 * i * i) % VOCABULARY for i in range(1 + 4 * row)) for row in range(5)]
STOPS = st.sampled_from([None, StopRule("top1", below=0.3), StopRule("margin", below=2.0)])
MOVES = st.tuples(
    st.booleans(),  # whether the row takes part in the round
    st.integers(0, 6),  # its gamma
    STOPS,
    st.integers(1, 9),  # tokens that are delivered at most
    st.integers(0, 9),  # the row leaves, and another joins in its place, where this is 0
)
ROUNDS = st.lists(st.lists(MOVES, min_size=4, max_size=4), min_size=1, max_size=8)


class Row:
    """A request on target and draft, and what it has written."""

    def __init__(self, target, draft, prompt):
        self.prompt = list(prompt)
        self.written = []
        self.verifier, self.drafter = target.open(prompt), draft.open(prompt)

    def advance(self, tokens):
        self.written += tokens
        self.verifier.advance(tokens)
        self.drafter.advance(tokens)

    def close(self):
        self.verifier.close()
        self.drafter.close()


def control_of(stop):
    return None if stop is None else DraftControl(frozenset({stop.signal}), stop)


@either
@settings(deadline=None, max_examples=40)
@given(data=st.data(), rounds=ROUNDS)
def test_rows_that_come_and_go_write_what_the_model_writes_alone(engine, data, rounds):
    family = data.draw(st.sampled_from(FAMILIES[engine]))
    target, drafts = PAIRS[engine].pair(family)
    draft = drafts["near"]
    assert isinstance(target, BatchTarget)
    assert isinstance(draft, BatchDraft)
    assert target.shares_passes
    opened = iter(range(10**6))
    rows = [Row(target, draft, PROMPTS[next(opened) % len(PROMPTS)]) for _ in range(4)]
    for moves in rounds:
        taking = [(row, move) for row, move in zip(rows, moves, strict=True) if move[0]]
        drafting = [(row, move) for row, move in taking if move[1]]
        proposals = dict(
            zip(
                [id(row) for row, _ in drafting],
                draft.draft_batch(
                    [row.drafter for row, _ in drafting],
                    [gamma for _, (_, gamma, _, _, _) in drafting],
                    [control_of(stop) for _, (_, _, stop, _, _) in drafting],
                ),
                strict=True,
            )
        )
        verdicts = target.verify_batch(
            [row.verifier for row, _ in taking], [proposals.get(id(row)) for row, _ in taking]
        )
        for (row, (_, gamma, _, most, _)), verdict in zip(taking, verdicts, strict=True):
            assert len(proposals.get(id(row), ())) <= gamma
            row.advance(list(verdict.tokens)[:most])
        for place, (_, _, _, _, leaves) in enumerate(moves):
            if leaves == 0:
                rows[place].close()
                rows[place] = Row(target, draft, PROMPTS[next(opened) % len(PROMPTS)])
    for row in rows:
        assert tuple(row.written) == PAIRS[engine].plainly(family, tuple(row.prompt), 80)[: len(row.written)]
        fresh = target.open([*row.prompt, *row.written])
        assert torch.allclose(row.verifier.logits(), fresh.logits(), rtol=0, atol=1e-10)
        fresh.close()
        row.close()


@either
def test_greedy_and_drawn_rows_share_a_pass_and_draw_as_they_do_alone(engine):
    target, drafts = PAIRS[engine].pair("qwen3")

    def written(together):
        samplings = [None, Sampling(temperature=0.8, top_p=0.9, seed=3), Sampling(temperature=1.2, seed=4)]
        rows = [
            (target.open(PROMPTS[2]), drafts["near"].open(PROMPTS[2]))
            if sampling is None
            else (
                target.open_sampled(PROMPTS[2], sampling),
                drafts["near"].open_sampled(PROMPTS[2], sampling.of("d")),
            )
            for sampling in samplings
        ]
        outputs = [[] for _ in rows]
        for gamma in (3, 0, 2, 5, 1):
            verifiers, drafters = [row[0] for row in rows], [row[1] for row in rows]
            if together:
                proposals = (
                    drafts["near"].draft_batch(drafters, [gamma] * 3, [None] * 3) if gamma else [None] * 3
                )
                verdicts = target.verify_batch(verifiers, proposals)
            else:
                proposals = [each.draft(gamma, None) if gamma else None for each in drafters]
                verdicts = [
                    each.verify(proposal) for each, proposal in zip(verifiers, proposals, strict=True)
                ]
            for output, row, verdict in zip(outputs, rows, verdicts, strict=True):
                output.extend(verdict.tokens)
                for session in row:
                    session.advance(verdict.tokens)
        for row in rows:
            for session in row:
                session.close()
        return outputs

    assert written(together=True) == written(together=False)


@either
def test_drawn_tokens_of_rows_that_share_a_pass_are_distributed_as_the_targets(engine, monkeypatch):
    as_target, as_draft = ROLES[engine]
    model = tiny_model("llama", vocab_size=6)
    target, draft = as_target(model), as_draft(tiny_model("llama", vocab_size=6, seed=4))
    drawn = replace(DRAWN, top_p=None)

    def next_probs(prompt):
        def probs(text):
            with torch.inference_mode():
                logits = model(torch.tensor([[*prompt, *text]])).logits[0, -1] / drawn.temperature
            least = logits.topk(drawn.top_k).values[-1]
            return torch.softmax(logits.masked_fill(logits < least, -torch.inf), dim=-1).tolist()

        return probs

    def run():
        prompts = [(1, 2), (3,)]
        rows = [
            (target.open_sampled(prompt, drawn.of("t")), draft.open_sampled(prompt, drawn.of("d")))
            for prompt in prompts
        ]
        proposals = draft.draft_batch([row[1] for row in rows], [1, 1], [None, None])
        verdicts = target.verify_batch([row[0] for row in rows], proposals)
        for row in rows:
            for session in row:
                session.close()
        return tuple(verdict.tokens[0] for verdict in verdicts)

    expected = {
        (*left, *right): left_prob * right_prob
        for left, left_prob in texts(1, next_probs((1, 2))).items()
        for right, right_prob in texts(1, next_probs((3,))).items()
    }
    assert apart(every_outcome(run, monkeypatch), expected) < 1e-9


def test_a_row_that_fails_costs_the_others_nothing():
    target = GraphTarget(tiny_model("llama"), max_context=16)
    rows = [target.open(prompt) for prompt in ((1, 2, 3), (4, 5), (6,))]
    rows[1].close()
    verdicts = target.verify_batch(rows, [TokenProposal((7,)), None, TokenProposal(tuple(range(60)))])
    assert verdicts[0] == target.open((1, 2, 3)).verify(TokenProposal((7,)))
    assert isinstance(verdicts[1], BackendError)
    assert "was closed" in str(verdicts[1])
    assert isinstance(verdicts[2], BackendError)
    assert "do not fit" in str(verdicts[2])
    assert target.verify_batch(rows[:1], [None])[0] == target.open((1, 2, 3)).verify(None)


def test_a_pass_of_all_that_fails_is_run_for_each_by_itself(monkeypatch):
    target = GraphTarget(tiny_model("llama"))
    rows = [target.open(prompt) for prompt in ((1, 2, 3), (4, 5))]
    expected = [target.open(prompt).verify(None) for prompt in ((1, 2, 3), (4, 5))]

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(target.engine, "feed_batch", fail, raising=True)
    monkeypatch.setattr(
        target.engine,
        "feed",
        lambda cache, tokens, rows: type(target.engine).feed_batch(
            target.engine, [cache], tokens, [len(tokens)], [rows]
        ),
    )
    assert target.verify_batch(rows, [None, None]) == expected


def test_an_interrupt_passes_through():
    def interrupted():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        run_together([interrupted()])
