"""A decoder in an event loop: several texts at once, deadlines, cancellations, and nothing left behind."""

import asyncio
import re
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline import AsyncDecoder, BackendError, ClosedError, DeadlineError, Tally, load_config
from paceline.serving import Metrics

PROMPTS = ["the rain", "in spain", "stays mainly"]


def until(condition):
    async def wait():
        while not condition():  # noqa: ASYNC110 - a thread brings it about, without an event
            await asyncio.sleep(0.005)

    return asyncio.wait_for(wait(), 10.0)


def test_texts_at_once_are_those_that_each_would_have_alone(decoder, plain):
    async def all_of_them():
        return await asyncio.gather(*map(decoder.generate, PROMPTS))

    together = asyncio.run(all_of_them())
    for prompt, done in zip(PROMPTS, together, strict=True):
        alone = plain.generate(prompt)
        assert (done.text, done.tokens, done.ended) == (alone.text, alone.tokens, alone.ended)
        assert done.prompt_tokens == alone.prompt_tokens
        assert done.totals.gammas == alone.totals.gammas
        assert done.policy == alone.policy


def test_rounds_and_pieces_are_those_of_the_decoder(decoder, plain):
    async def both():
        tally = Tally()
        rounds = [done async for done in decoder.rounds("the rain", tally=tally)]
        return rounds, tally, [piece async for piece in decoder.stream("the rain")]

    rounds, tally, pieces = asyncio.run(both())
    assert [done.tokens for done in rounds] == [done.tokens for done in plain.rounds("the rain")]
    assert tally.totals().rounds == len(rounds)
    assert pieces == list(plain.stream("the rain"))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(PROMPTS), st.integers(0, 12)), min_size=1, max_size=6))
def test_whoever_leaves_at_any_round_changes_no_text_of_the_others(leavers):
    run = {
        "target": {"backend": "toy", "seed": 7},
        "drafts": {"small": {"backend": "toy", "agreement": 0.8}},
        "policy": "survival",
        "generation": {"max_new_tokens": 24},
    }
    expected = load_config(run).build().generate("the rain").tokens

    async def leave(decoder, prompt, after):
        async with aclosing(decoder.rounds(prompt)) as rounds:
            count = 0
            async for _ in rounds:
                count += 1
                if count > after:
                    break

    async def all_of_them():
        async with AsyncDecoder(load_config(run).build(), max_active=3) as decoder:
            stay = asyncio.create_task(decoder.generate("the rain"))
            await asyncio.gather(*(leave(decoder, *leaver) for leaver in leavers))
            text = await stay
            await until(lambda: decoder.counts() == (0, 0))
            return text.tokens

    assert asyncio.run(all_of_them()) == expected


LONG = 10**6
"""Tokens of a text that does not end while a test runs."""


def test_a_cancelled_task_lets_its_request_go(decoder):
    async def cancel():
        task = asyncio.create_task(decoder.generate("the rain", max_new_tokens=LONG))
        await until(lambda: decoder.counts() == (1, 0))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: decoder.counts() == (0, 0))

    with capture_logs() as logs:
        asyncio.run(cancel())
    assert [line["ended"] for line in logs] == ["cancelled"]


def test_a_deadline_ends_a_text_that_is_right_so_far(decoder, plain):
    expected = plain.generate("the rain", max_new_tokens=40).text

    async def late():
        pieces = []

        async def take():
            async for piece in decoder.stream("the rain", max_new_tokens=LONG, deadline_s=0.2):
                pieces.append(piece)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(DeadlineError, match="longer than its deadline"):
            await take()
        await until(lambda: decoder.counts() == (0, 0))
        return "".join(pieces)

    with capture_logs() as logs:
        assert asyncio.run(late()).startswith(expected)
    assert [line["ended"] for line in logs] == ["deadline"]


def test_log_and_metrics_say_the_same_of_how_a_request_ended(run):
    metrics = Metrics()

    async def several():
        async with AsyncDecoder(load_config(run).build(observer=metrics)) as decoder:
            await decoder.generate("the rain")
            with pytest.raises(DeadlineError) as late:
                await decoder.generate("in spain", max_new_tokens=LONG, deadline_s=0.2)
            assert late.value.delivered
            async with aclosing(decoder.rounds("stays", max_new_tokens=LONG)) as rounds:
                await anext(rounds)
            await until(lambda: decoder.counts() == (0, 0))

    with capture_logs() as logs:
        asyncio.run(several())
    assert [line["ended"] for line in logs if line["event"] == "request_finished"] == [
        "length",
        "deadline",
        "cancelled",
    ]
    counted = metrics.text(lambda: (0, 0)).decode()
    assert {*re.findall(r'paceline_requests_total{ended="(\w+)"} 1.0', counted)} == {
        "length",
        "deadline",
        "cancelled",
    }


def test_a_deadline_counts_while_a_request_waits_in_line(run):
    decoder = AsyncDecoder(load_config(run).build(), max_active=1)

    async def late():
        first = asyncio.create_task(decoder.generate("the rain", max_new_tokens=LONG))
        await until(lambda: decoder.counts() == (1, 0))
        with pytest.raises(TimeoutError) as caught:
            await decoder.generate("in spain", deadline_s=0.1)
        assert caught.value.delivered == ()
        assert decoder.counts() == (1, 0)
        first.cancel()

    asyncio.run(late())
    decoder.close()


def test_closing_tells_those_who_wait_and_takes_on_no_more(decoder):

    async def closed():
        task = asyncio.create_task(decoder.generate("the rain", max_new_tokens=LONG))
        await until(lambda: decoder.counts() == (1, 0))
        await decoder.aclose()
        with pytest.raises(ClosedError):
            await task
        with pytest.raises(ClosedError):
            await decoder.generate([1, 2])

    asyncio.run(closed())


def test_one_event_a_request_says_what_came_of_it(decoder, plain):
    async def two():
        await decoder.generate("the rain")
        with pytest.raises(BackendError):
            await decoder.generate("the rain", max_new_tokens=0)
        await until(lambda: decoder.counts() == (0, 0))

    with capture_logs() as logs:
        asyncio.run(two())
    totals = plain.generate("the rain").totals
    first, second = logs
    assert first.pop("seconds") > 0
    assert first == {
        "event": "request_finished", "log_level": "info", "ended": "length", "prompt_tokens": 8,
        "tokens": 40, "rounds": totals.rounds, "drafted": totals.drafted, "accepted": totals.accepted,
    }  # fmt: skip
    assert (second["ended"], second["error"]) == ("error", "BackendError")


def test_a_decoder_outlives_the_event_loops_it_is_used_in(decoder):
    texts = {asyncio.run(decoder.generate("the rain")).text for _ in range(3)}
    assert len(texts) == 1


def test_a_reader_that_pauses_holds_up_nobody(decoder, plain):
    async def slow():
        async with aclosing(decoder.rounds("the rain")) as rounds:
            await anext(rounds)
            other = await decoder.generate("in spain")
            return other.tokens, [done.tokens async for done in rounds]

    other, rest = asyncio.run(slow())
    assert other == plain.generate("in spain").tokens
    assert rest == [done.tokens for done in plain.rounds("the rain")][1:]


def test_an_option_that_no_request_has_is_refused(run):
    async def begin():
        async with AsyncDecoder(load_config(run).build()) as decoder:
            await decoder.generate([3], max_tokens=3)

    with pytest.raises(
        TypeError, match="'max_tokens' is no option of a request; there are max_new_tokens, stop, sampling"
    ):
        asyncio.run(begin())
