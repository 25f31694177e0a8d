"""The simulator against models that really run: a toy pair is recorded by trying its draft at every start."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.proposals import DraftControl
from paceline.core.records import SIGNALS
from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextsInMemory
from paceline.lab.replay.simulator import Simulator, capabilities
from paceline.lab.short_names import parse_policy

CATALOGUE = Catalogue.load()
LONGEST, WANTED = 16, 40
PROFILE = LatencyProfile(
    {1: 1.0, 4: 1.1, 17: 1.7},
    20,
    0.001,
    {
        "small": DraftTimes({1: 0.1, 16: 1.5}, {1: 0.0, 8: 0.03, 64: 0.4}),
        "lookup": DraftTimes({0: 0.001, 16: 0.002}, {}),
    },
    0.0,
)
INFOS = {
    "small": DraftInfo(caches=True, short=1, signals=SIGNALS, match_lengths=False, scores=True),
    "lookup": DraftInfo(caches=False, short=0, signals=frozenset({"token"}), match_lengths=True, scores=True),
}
HEADER = Header({}, LONGEST, "greedy", INFOS, PROFILE)


def pair(seed, eos_share):
    target = ToyTarget(seed=seed, eos_share=eos_share, capabilities=capabilities(HEADER))
    return target, {"small": ToyDraft(target, agreement=0.75), "lookup": PromptLookup()}


def starts(draft, info, prompt, tokens):
    """Try a draft at every start of a text."""
    offered, agreed, match_lengths = [], [], []
    signals = {name: np.zeros((len(tokens), LONGEST), np.float64) for name in info.signals}
    for start in range(len(tokens)):
        session = draft.open([*prompt, *tokens[:start]])
        if info.match_lengths:
            match_lengths.append(session.match_length)
        proposal = session.draft(LONGEST, DraftControl(info.signals))
        offered.append(len(proposal))
        rest = tokens[start:]
        pairs = list(zip(proposal.tokens, rest, strict=False))
        agreed.append(next((i for i, (one, other) in enumerate(pairs) if one != other), len(pairs)))
        for column, about in enumerate(proposal.signals):
            for name, known in signals.items():
                known[start, column] = about.value(name)
    if "token" in signals:
        signals["token"] = signals["token"].astype(np.int32)
    short = [np.array(one, np.int16) for one in (offered, agreed)]
    return Starts(*short, np.array(match_lengths, np.int32) if info.match_lengths else None, None, signals)


def recorded(seed, eos_share):
    target, drafts = pair(seed, eos_share)
    texts = []
    for number in range(2):
        prompt = tuple(1 + (seed + number + place) % 26 for place in range(9))
        plain = SpeculativeDecoder(target, {}, ChaoticPolicy(0, []), max_new_tokens=WANTED)
        found = plain.generate(prompt)
        made = {name: starts(draft, INFOS[name], prompt, found.tokens) for name, draft in drafts.items()}
        texts.append(
            Text(
                f"t/{number}",
                "t",
                "",
                len(prompt),
                prompt,
                WANTED,
                found.tokens,
                found.ended,
                True,
                None,
                made,
            )
        )
    return Recording(HEADER, (), TextsInMemory(texts))


def told(done, needs):
    """Return a round as far as the recording tells it.

    After the token that ended a text the target may have agreed further, which is no part of the text; and a toy tells
    all signals whatever it was asked for.
    """
    asked = needs if done.plan.use_signals else frozenset()
    if done.plan.stop is not None:
        asked |= {done.plan.stop.signal}
    signals = tuple(replace(one, **dict.fromkeys(SIGNALS - asked)) for one in done.signals)
    return replace(done, accepted=min(done.accepted, done.emitted), signals=signals if asked else ())


def check(build, seed, eos_share):
    """Compare the rounds of two texts, one after the other; where texts end by a token, each by itself.

    What a real draft would have agreed to after the end can teach a policy something that no recording of the text
    holds, so that the next text may begin otherwise.
    """
    recording = recorded(seed, eos_share)
    target, drafts = pair(seed, eos_share)
    decoder = simulator = None
    for text in recording:
        if decoder is None or eos_share:
            rounds, policy = [], build()
            clock = CostTableClock(PROFILE)
            decoder = SpeculativeDecoder(target, drafts, policy, clock=clock, max_new_tokens=WANTED)
            simulator = Simulator(HEADER, build(), on_round=rounds.append)
        really = [told(done, policy.needs) for done in decoder.rounds(text.prompt)]
        rounds.clear()
        simulator.play(text)
        assert [told(done, policy.needs) for done in rounds] == really


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 99), st.sampled_from([0.0, 0.05]), st.sets(st.sampled_from(sorted(SIGNALS - {"token"})))
)
def test_a_policy_that_does_anything_takes_the_rounds_of_the_toy_pair(seed, eos_share, needs):
    check(
        lambda: ChaoticPolicy(seed, ["small"], signals=frozenset(needs), max_gamma=LONGEST), seed, eos_share
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 99), st.sampled_from([0.0, 0.05]))
def test_it_does_with_two_drafts_as_well(seed, eos_share):
    check(lambda: ChaoticPolicy(seed, ["small", "lookup"], max_gamma=LONGEST), seed, eos_share)


@pytest.mark.parametrize("name", sorted(CATALOGUE.policies))
@pytest.mark.parametrize("eos_share", [0.0, 0.05])
def test_every_policy_takes_the_rounds_of_the_toy_pair(name, eos_share):
    config = parse_policy(name, CATALOGUE)
    try:
        check(lambda: config.build(1), 7, eos_share)
    except CapabilityError:
        config = parse_policy(f"{name}:draft=small", CATALOGUE)
        check(lambda: config.build(1), 7, eos_share)
