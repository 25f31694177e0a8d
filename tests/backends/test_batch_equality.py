"""Whatever policies do, and whoever shares the passes, each request gets the tokens of transformers' own `generate`."""

import gc
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from paceline.backends.graph.cache import KEPT, StaticCache
from paceline.core.batch import BatchDecoder
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import QueueFullError

from .adversary import Adversary, requests, scripts
from .graph import pairs as graph
from .transformers import pairs as hf

torch.set_num_threads(1)

ENGINES = {"graph": graph, "hf": hf}
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
OWN_POLICIES = st.booleans()


@pytest.mark.parametrize("engine", ENGINES)
@settings(slow, max_examples=60)
@given(
    data=st.data(), play=st.lists(scripts, min_size=1, max_size=5), own=OWN_POLICIES, signals=st.booleans()
)
def test_requests_that_come_and_go_get_the_tokens_they_get_alone(engine, data, play, own, signals):
    pairs = ENGINES[engine]
    family = data.draw(st.sampled_from(["llama", "qwen3", *(["gpt2", "opt"] if pairs is hf else [])]))
    target, drafts = pairs.pair(family)
    scripted = iter(play * 99)
    policy = (lambda: Adversary(next(scripted), signals)) if own else Adversary(play[0], signals)
    batch = BatchDecoder(
        SpeculativeDecoder(target, drafts, policy, eos=frozenset({7, 11})),
        max_rows=data.draw(st.integers(1, 4)),
    )
    submitted, later = [], data.draw(st.lists(st.integers(0, 3), max_size=5))

    def submit():
        _, prompt, limit, _ = data.draw(requests([family], pairs.plainly))
        request = batch.submit(prompt, max_new_tokens=limit)
        submitted.append((request, prompt, limit))

    for _ in range(data.draw(st.integers(1, 3))):
        submit()
    for number, (request, done) in enumerate(batch.rounds()):
        assert tuple(request.tokens[-len(done.tokens) :]) == done.tokens
        if number % 2 and later:
            if later.pop() == 0:
                submitted[number % len(submitted)][0].cancel()
            else:
                submit()
    for request, prompt, limit in submitted:
        whole = pairs.plainly(family, prompt, limit, frozenset({7, 11}))
        assert request.done
        assert request.error is None
        assert tuple(request.tokens) == (whole[: len(request.tokens)] if request.cancelled else whole)


CACHES = {"graph": StaticCache, "hf": DynamicCache}


def caches(kind):
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


def soak(name, total, seed):
    """Play so many short requests through 16 rows, with arrivals, cancellations and failures by chance."""
    random = Random(seed)
    target, drafts = ENGINES[name].pair("llama")
    policy = Adversary(
        [(3, "near", None, 9), (0, "near", None, 9), (2, "far", None, 9), (4, "lookup", None, 9)]
    )
    decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset({7}))
    batch = BatchDecoder(decoder, max_rows=16, max_waiting=40)
    engine, failing = target.engine, set()

    def fragile(work):
        def fed(caches, *given):
            if any(id(cache) in failing for cache in (caches if isinstance(caches, list) else [caches])):
                raise RuntimeError("out of luck")
            return work(caches, *given)

        return fed

    submitted, running, held = [], [], []
    with pytest.MonkeyPatch.context() as patch:
        for work in ("feed", "feed_batch"):
            patch.setattr(engine, work, fragile(getattr(engine, work)))
        while len(submitted) < total or batch.busy:
            for _ in range(random.choice((0, 0, 0, 1, 2, 12))):
                if len(submitted) < total:
                    prompt = tuple(random.randrange(1, 96) for _ in range(random.randint(1, 6)))
                    limit = random.randint(1, 12)
                    with suppress(QueueFullError):
                        submitted.append((batch.submit(prompt, max_new_tokens=limit), prompt, limit))
            failing.clear()
            if running and random.random() < 0.1:
                session = random.choice(running).opened.request.target.session
                failing.add(id(session.sequence.cache))
            rounds = batch.step()
            for request, done in rounds:
                assert tuple(request.tokens[-len(done.tokens) :]) == done.tokens
            running = [request for request, _ in rounds if not request.done]
            if submitted and random.random() < 0.2:
                random.choice(submitted[-40:])[0].cancel()
            if random.random() < 0.05:
                held.append(caches(CACHES[name]))
    ends = Counter()
    for request, prompt, limit in submitted:
        whole = ENGINES[name].plainly("llama", prompt, limit, frozenset({7}))
        assert request.done
        assert tuple(request.tokens) == whole[: len(request.tokens)]
        ended = request.tally.ended is not None
        assert not ended or tuple(request.tokens) == whole
        assert ended or request.error or request.cancelled
        ends["ended" if ended else "failed" if request.error else "cancelled"] += 1
    return ends, held


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("total", [120, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_soak_loses_and_doubles_no_token_and_leaks_no_cache(name, total):
    before = caches(CACHES[name])
    ends, held = soak(name, total, 5)
    assert ends["ended"] > total / 2
    assert ends["failed"] >= 1
    assert ends["cancelled"] >= 1
    # Target and two drafts have a cache a row at most, and keep some of closed sessions.
    assert max(held) - before <= 3 * (16 + KEPT)
    assert caches(CACHES[name]) - before <= 3 * KEPT
