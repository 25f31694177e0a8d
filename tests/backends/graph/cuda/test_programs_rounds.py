"""Promises of programs besides the right tokens: nothing read by the host, nothing built or allocated in a round."""

import gc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paceline.backends.graph.cuda import buffers as buffers_module
from paceline.backends.graph.cuda import draft as draft_module
from paceline.backends.graph.cuda import target as target_module
from paceline.backends.graph.cuda.draft import CudaDraft
from paceline.backends.graph.cuda.engine import BlockEngine
from paceline.backends.graph.cuda.models import open_target
from paceline.backends.graph.cuda.runner import EagerRunner
from paceline.backends.torch.sampling import DeviceRng
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.records import Plan
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import ScriptedPolicy

from ...tiny_models import noisy_copy
from .programs import CONTEXT, made, model_of, pair, plainly

torch.set_num_threads(1)

PROMPT = (3, 1, 4)
CPU = torch.device("cpu")


class Quiet(TorchDispatchMode):
    """Refuses whatever waits for the host or comes from it, which a capture would refuse too."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "lift_fresh", "scalar_tensor", "is_nonzero", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in self.FORBIDDEN), f"{func} needs the host"
        return func(*args, **(kwargs or {}))


class MetaRng(DeviceRng):
    """Draws without a generator: there is none for tensors without content."""

    def __init__(self, device):
        self.generator = None

    def seed(self, seed):
        pass


class Unsent:
    """A post that sends nothing."""

    def __init__(self, runner, buffer):
        pass

    def send(self, numbers):
        pass


def contentless(value):
    """Return weights as tensors of a device on which nothing can be read."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, tuple):
        return tuple(map(contentless, value))
    if hasattr(value, "__slots__"):
        return type(value)(*(contentless(getattr(value, name)) for name in value.__slots__))
    return value


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(temperature=0.7), Sampling(top_k=3, top_p=0.9)], ids=str
)
def test_no_program_reads_a_number_on_the_host_or_brings_one(family, sampling, monkeypatch):
    for module in (buffers_module, draft_module, target_module):
        monkeypatch.setattr(module, "HostToDeviceBuffer", Unsent)
    monkeypatch.setattr(buffers_module, "DeviceRng", MetaRng)
    engine = BlockEngine(model_of(family, torch.bfloat16), EagerRunner(CPU), max_context=CONTEXT, block=16)
    engine.network = contentless(engine.network)
    drafting, verifying = draft_module.DraftBuffers(engine, 90), target_module.TargetBuffers(engine)
    for buffers in (drafting, verifying):
        buffers.set_sampling(sampling)
    with torch.inference_mode(), Quiet():
        drafting._read(32)
        for tier in (1, 2, 4):
            drafting._draft(tier, 32, looks=True)
            drafting._draft(tier, 96, looks=False)
        for tier in (0, 1, 4):
            verifying._verify(tier, 32)


def test_that_check_would_find_a_number_read_on_the_host():
    with pytest.raises(AssertionError, match="needs the host"), Quiet():
        bool(torch.ones(1).sum() > 0)


def counted(gammas, rounds, **options):
    """Return the reads and builds of each round on buffers that were built beforehand."""
    model = model_of("llama")
    target, drafts = made(model, {"near": noisy_copy(model, noise=0.02)}, warm=True, **options)
    runner = target.engine.runner
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy(gammas), eos=frozenset())
    found, before = [], (runner.reads, runner.builds)
    for _ in decoder.rounds(PROMPT, max_new_tokens=rounds):
        found.append((runner.reads - before[0], runner.builds - before[1]))
        before = runner.reads, runner.builds
    return found, target, drafts


def test_one_copy_reaches_the_host_a_round_and_nothing_is_built_after_warm_up():
    gammas = [3, 0, 16, 0, 0, 0, 5, 1, Plan(8, stop=None), 2]
    found, _, _ = counted(gammas, 60)
    assert len(found) > 10
    assert set(found) == {(1, 0)}


def test_a_policy_that_is_asked_after_each_token_pays_a_copy_for_each():
    class Asking(ScriptedPolicy):
        needs = frozenset({"top1"})

    target, drafts = pair("llama")
    runner = target.engine.runner
    decoder = SpeculativeDecoder(target, {"near": drafts["near"]}, Asking([4]), eos=frozenset())
    before = runner.reads
    done = next(decoder.rounds(PROMPT, max_new_tokens=30))
    assert done.drafted == 4
    assert runner.reads - before == 4 + 1


def test_a_tier_is_built_when_it_is_first_used_if_it_was_not_before():
    model = model_of("llama")
    target, _ = made(model, {})
    runner = target.engine.runner
    session = target.open(PROMPT)
    begun = runner.builds
    session.verify(TokenProposal((1, 2)))
    session.verify(TokenProposal((1, 2)))
    assert runner.builds == begun + 1


def test_nothing_grows_over_many_rounds():
    _, target, drafts = counted([3, 0, 5, 16, 0, 0], 40)
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy([3, 0, 5, 16, 0, 0]), eos=frozenset())
    sizes, places = [], set()
    for _ in range(3):
        for _ in range(5):
            decoder.generate(PROMPT, max_new_tokens=70)
        buffers = target.pool.take()
        places.add((buffers.cache.layers[0].data_ptr(), buffers.result.data_ptr(), buffers.state.data_ptr()))
        target.pool.give(buffers)
        gc.collect()
        sizes.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert len(places) == 1
    assert sizes[1] == sizes[2]


def test_a_session_that_is_closed_says_so_and_gives_its_seat_to_the_next_one():
    model = model_of("llama")
    target, drafts = made(model, {"near": noisy_copy(model)})
    first = target.open(PROMPT)
    buffers = first.buffers
    first.close()
    first.close()
    with pytest.raises(BackendError, match="was closed; open a new one"):
        first.verify(None)
    second, third = target.open(PROMPT), target.open(PROMPT)
    assert second.buffers is buffers
    assert third.buffers is not buffers
    session = drafts["near"].open(PROMPT)
    session.close()
    with pytest.raises(BackendError, match="was closed"):
        session.draft(2, None)


def test_a_full_cache_is_reported_before_anything_is_touched():
    target, drafts = pair("llama")
    text = plainly("llama", PROMPT, CONTEXT - len(PROMPT))
    context = (*PROMPT, *text[:-2])
    session, drafting = target.open(context), drafts["near"].open(context)
    assert len(drafting.draft(9, None)) == 3
    with pytest.raises(BackendError, match=f"room for {CONTEXT} tokens; 78 are there and 3 more do not fit"):
        session.verify(TokenProposal((1, 2, 3)))
    assert session.verify(TokenProposal(text[-2:-1])).tokens == text[-2:]
    session.advance(text[-2:])
    drafting.advance(text[-2:])
    assert len(drafting.draft(9, None)) == 1
    with pytest.raises(BackendError, match="set a larger `max_context`"):
        target.open([1] * (CONTEXT + 1))


def test_a_text_may_fill_the_cache_to_its_last_token():
    target, drafts = pair("llama")
    decoder = SpeculativeDecoder(target, {"near": drafts["near"]}, ScriptedPolicy([16]), eos=frozenset())
    found = decoder.generate(PROMPT, max_new_tokens=1000)
    assert found.tokens == plainly("llama", PROMPT, CONTEXT - len(PROMPT))
    assert found.ended == "length"


@pytest.mark.parametrize("where", ["forward", "signal_values"])
def test_a_round_that_fails_leaves_sessions_that_go_on_as_if_nothing_had_happened(where, monkeypatch):
    target, drafts = pair("qwen3")
    text = plainly("qwen3", PROMPT, 30)
    session, drafting = target.open(PROMPT), drafts["near"].open(PROMPT)
    drafting.draft(3, None)

    calls = []

    def failing(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return real(*args)

    real = getattr(draft_module, where)
    with monkeypatch.context() as patch:
        patch.setattr(draft_module, where, failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            drafting.draft(4, DraftControl(frozenset({"top1"})))
    with monkeypatch.context() as patch:
        patch.setattr(target_module, "forward", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.verify(None)
    wanted = drafts["near"].open(PROMPT).draft(4, None).tokens
    proposal = drafting.draft(4, None)
    assert proposal.tokens == wanted
    assert session.verify(proposal).tokens == text[: session.verify(proposal).accepted + 1]


def test_what_no_token_is_ends_a_proposal_and_what_is_too_long_is_refused():
    target, _ = pair("llama")
    text = plainly("llama", PROMPT, 20)
    session = target.open(PROMPT)
    assert session.verify(TokenProposal((text[0], 10_000, 0))).tokens == text[:2]
    assert session.verify(TokenProposal((-1,))).tokens == text[:1]
    with pytest.raises(BackendError, match="verifies at most 16 tokens at once, found 17"):
        session.verify(TokenProposal(text[:17]))
    for wrong in ([], [10_000]):
        with pytest.raises(BackendError, match=r"1 to 80 tokens|no token of"):
            target.open(wrong)


def test_a_proposal_that_was_overtaken_is_not_taken_for_the_new_one():
    target, drafts = pair("llama")
    drafting = drafts["near"].open(PROMPT)
    unread = drafting.draft(3, None)
    drafting.advance([5])
    drafting.draft(2, None)
    with pytest.raises(BackendError, match="the draft has gone on"):
        len(unread)
    read = drafting.draft(3, None)
    tokens = read.tokens
    drafting.advance([7])
    drafting.draft(3, None)
    # What the host knows stays true, and is verified as it was.
    verdict = target.open((*PROMPT, 5)).verify(read)
    assert read.tokens == tokens
    assert verdict.tokens[: verdict.accepted] == tokens[: verdict.accepted]


def test_the_time_of_a_proposal_is_known_once_it_was_verified():
    target, drafts = pair("llama")
    proposal = drafts["near"].open(PROMPT).draft(4, None)
    assert proposal.seconds is None
    target.open(PROMPT).verify(proposal)
    assert proposal.seconds > 0


def test_a_draft_with_fewer_positions_or_tokens_proposes_what_it_can():
    model = model_of("llama")
    target, drafts = made(model, {"near": noisy_copy(model, noise=0.02)}, max_context=20)
    session = drafts["near"].open([1] * 19)
    assert len(session.draft(8, None)) == 2
    session.advance([1, 1])
    assert len(session.draft(8, None)) == 0
    few = model_of("llama").config.vocab_size - 40
    narrow = CudaDraft(target.engine, vocabulary=few)
    proposed = [token for start in range(8) for token in narrow.open([start, 1, 4]).draft(8, None).tokens]
    assert max(proposed) < few <= max(plainly("llama", PROMPT, 60))
    last = target.engine.vocabulary - 1
    proposals = [narrow.open([3, token]).draft(4, None).tokens for token in (10_000, last)]
    assert proposals[0] == proposals[1]  # a token it does not know is read as its last one


def test_programs_are_refused_where_nothing_can_be_captured():
    model = model_of("llama")
    with pytest.raises(BackendError, match="captured on a CUDA device, found cpu"):
        open_target(model)
