"""The suffix draft, against a scan of all texts."""

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

import paceline
from paceline.backends.suffix.draft import SuffixConfig, SuffixDraft
from paceline.backends.suffix.memory import Memory
from paceline.backends.suffix.tree import SuffixTree
from paceline.backends.toy import ToyTarget
from paceline.core.proposals import DraftControl
from paceline.core.records import SIGNALS, StopRule
from paceline.core.state.store import StateStore
from paceline.lab.recording.draft_walk import memoryless
from paceline.policies.static import StaticConfig
from paceline.testing import check_backend

TOKENS = st.integers(0, 3)
TEXT = st.lists(TOKENS, max_size=14)


def occurrences(context, text, begin, longest):
    """Return the longest run that ends the context and was followed in text[begin:], and the places after it."""
    for n in range(min(longest, len(context)), 0, -1):
        places = [p for p in range(max(n, begin), len(text)) if text[p - n : p] == context[-n:]]
        if places:
            return n, places
    return 0, []


def find(context, known, texts, longest):
    """Return the longest match of all: in the first `known` tokens of the context, then in each group of texts."""
    best = *occurrences(context, context[:known], 1, longest), context
    for group in texts:
        scans = [(*occurrences(context, text, begin, longest), text) for text, begin in group]
        most = max((n for n, _, _ in scans), default=0)
        if most > best[0]:
            joined = [text[p:] for n, places, text in scans if n == most for p in places]
            best = most, joined, None
    length, places, text = best
    return length, [context[p:] for p in places] if text is not None else places


def by_definition(context, gamma, longest=32, shortest=1, texts=()):
    """Return what the draft proposes, and how often each token came where each of them stands."""
    known, grown, counts = len(context), list(context), []
    while len(grown) < known + gamma:
        length, rests = find(grown, known, texts, longest)
        if length < shortest or not length:
            break
        if len(rests) > 1:
            followers = Counter(rest[0] for rest in rests)
            last = {rest[0]: place for place, rest in enumerate(rests)}
            token = max(followers, key=lambda t: (followers[t], last[t]))
            grown.append(token)
            counts.append(followers)
            continue
        own = occurrences(grown, grown[:known], 1, longest)
        if own[0] == length:  # it may be followed into what has just been proposed
            place = own[1][0]
            while len(grown) < known + gamma:
                grown.append(grown[place])
                place += 1
        else:
            grown += rests[0]
        counts += [Counter({token: 1}) for token in grown[known + len(counts) :]]
    return grown[known:][:gamma], counts[:gamma]


@settings(deadline=None)
@given(
    prompt=st.lists(TOKENS, min_size=1, max_size=12),
    blocks=st.lists(st.lists(TOKENS, min_size=1, max_size=5), max_size=6),
    gamma=st.integers(1, 8),
    longest=st.integers(1, 5),
    earlier=st.lists(st.tuples(TEXT, TEXT), max_size=3),
    data=st.data(),
)
def test_the_tree_finds_and_counts_what_a_scan_of_all_texts_finds(
    prompt, blocks, gamma, longest, earlier, data
):
    shortest = data.draw(st.integers(1, longest))
    memory = Memory(1000, longest)
    for before, output in earlier:
        memory.add(before, output)
    texts = [[(before[-longest:] + output, len(before[-longest:])) for before, output in earlier]]
    session = SuffixDraft(max_match=longest, min_match=shortest, memory=memory).open(prompt)
    context = list(prompt)
    for block in blocks:
        if data.draw(st.booleans()):
            session.score(block)
        session.advance(block)
        context += block

    expected, counts = by_definition(context, gamma, longest, shortest, texts)
    assert list(session.draft(gamma, None).tokens) == expected
    length = find(context, len(context), texts, longest)[0]
    assert session.match_length == (length if length >= shortest else 0)
    proposal = session.draft(gamma, DraftControl(SIGNALS))
    assert list(proposal.tokens) == expected
    for signals, token, followers in zip(proposal.signals, expected, counts, strict=True):
        assert signals.token == token
        assert signals.prob == signals.top1 == followers[token] / followers.total()
        rest = followers.copy()
        del rest[token]
        assert signals.margin == pytest.approx(
            signals.prob - max(rest.values(), default=0) / followers.total()
        )
    if counts:
        assert session.continuations() == {t: c / counts[0].total() for t, c in counts[0].items()}
    scores = session.score(expected)
    for place, score in enumerate(scores):
        # What is scored was delivered by then.
        first, _ = by_definition([*context, *expected[:place]], 1, longest, shortest, texts)
        assert score == float(first == expected[place : place + 1])
    assert list(session.draft(gamma, None).tokens) == expected, "scoring must leave no trace"


def test_the_token_that_came_most_often_wins_over_the_latest():
    session = SuffixDraft().open([9, 5, 9, 5, 9, 6, 7, 9])

    assert session.draft(1, None).tokens == (5,)
    assert session.continuations() == {5: 2 / 3, 6: 1 / 3}


def test_a_longer_match_wins_over_a_more_frequent_shorter_one():
    assert SuffixDraft().open([1, 9, 6, 9, 5, 9, 5, 1, 9]).draft(1, None).tokens == (6,)


def test_a_repeating_text_is_continued_past_its_end():
    assert SuffixDraft().open([1, 2, 1, 2]).draft(5, None).tokens == (1, 2, 1, 2, 1)


def test_a_stop_rule_on_its_probabilities_ends_drafting():
    session = SuffixDraft().open([9, 5, 8, 9, 5, 7, 9])
    control = DraftControl(frozenset({"prob"}), StopRule("prob", below=0.9))

    assert session.draft(4, control).tokens == (5, 7)


def test_it_passes_the_checks_of_backends():
    check_backend(ToyTarget, SuffixConfig(memory=0).build_draft)


def test_a_request_finds_what_earlier_ones_were_answered():
    draft = SuffixConfig(memory=100).build_draft(ToyTarget())
    first = draft.open([1, 2])
    first.advance([3, 4, 5, 6])
    first.close()
    first.close()

    later = draft.open([7, 2])
    assert later.match_length == 1
    assert later.draft(8, None).tokens == (3, 4, 5, 6)
    assert draft.forgetful().open([7, 2]).match_length == 0, "what is measured must not be remembered"


def test_what_is_forgetful_remembers_nothing_for_others():
    draft = SuffixConfig(memory=100).build_draft(ToyTarget())
    session = draft.forgetful().open([1, 2])
    session.advance([3, 4])
    session.close()

    assert draft.open([2]).draft(1, None).tokens == ()


def test_a_recording_asks_it_everywhere():
    assert not memoryless(SuffixDraft().open([1]))


def test_memory_drops_the_oldest_outputs_and_stays_within_its_size():
    memory, random = Memory(200, 8), Random(0)
    for _ in range(100):
        memory.add([random.randrange(50) for _ in range(20)], [random.randrange(50) for _ in range(30)])
        assert sum(len(tree.tokens) for tree in memory.trees) <= 200
    memory.add([5] * 30, list(range(100, 1000)))

    assert sum(len(tree.tokens) for tree in memory.trees) <= 200
    assert SuffixDraft(memory=memory).open([997]).draft(5, None).tokens == (998, 999)
    assert SuffixDraft(memory=memory).open([150, 151]).match_length == 0


def walk(node):
    """Yield the nodes of a tree."""
    yield node
    for child in node.longer.values():
        if not isinstance(child, int):
            yield from walk(child)


def test_a_tree_has_at_most_one_node_a_token_even_where_a_text_repeats_itself():
    random = Random(1)
    texts = [[7] * 500, [1, 2, 3] * 200, [random.randrange(3) for _ in range(2000)]]
    for text in texts:
        tree = SuffixTree(32)
        for token in text:
            tree.append(token)
        assert sum(1 for _ in walk(tree._root)) <= len(text)


def test_memory_stays_bounded_over_a_million_tokens():
    memory, random = Memory(10_000, 16), Random(0)
    phrases = [[random.randrange(2000) for _ in range(random.randrange(2, 40))] for _ in range(300)]

    def feed(tokens):
        while tokens > 0:
            output = [token for _ in range(12) for token in random.choice(phrases)]
            memory.add(phrases[0], output)
            tokens -= len(output)

    def entries():
        nodes = [node for tree in memory.trees for node in walk(tree._root)]
        return len(nodes), sum(len(node.longer) + len(node.followers) for node in nodes)

    most = 0
    for _ in range(10):
        feed(100_000)
        assert sum(len(tree.tokens) for tree in memory.trees) <= 10_000
        nodes, tables = entries()
        assert nodes <= 10_000
        most = max(most, tables)
    assert most <= 6 * 10_000


def test_outputs_survive_a_restart_in_a_file_of_their_target(tmp_path):
    config = SuffixConfig(memory=40, file=tmp_path / "outputs.sqlite")
    target = ToyTarget()
    for begin in range(0, 12, 4):
        session = config.build_draft(target).open([begin])
        session.advance([begin + offset for offset in (1, 2, 3)] * 5)
        session.close()

    again = config.build_draft(target)
    assert again.open([8, 9]).draft(3, None).tokens == (10, 11, 9)
    assert again.open([1, 2]).match_length == 0, "the oldest is dropped"
    other = config.build_draft(ToyTarget(seed=1))
    assert other.open([8, 9]).match_length == 0, "outputs of another target are of no use"
    assert len(StateStore(tmp_path / "outputs.sqlite").keys()) == 2


def test_what_is_no_output_in_the_file_is_passed_over(tmp_path):
    config = SuffixConfig(file=tmp_path / "outputs.sqlite")
    session = config.build_draft(ToyTarget()).open([1])
    session.advance([2, 3])
    session.close()
    (key,) = StateStore(config.file).keys()
    for text in ("[2, 99]", "[true]", '{"a": 1}', "[1"):
        with sqlite3.connect(config.file) as database:
            database.execute("UPDATE documents SET document = ? WHERE key = ?", (text, key))
        assert config.build_draft(ToyTarget()).open([2]).match_length == 0, text


def test_a_damaged_file_is_set_aside_with_a_warning(tmp_path):
    config = SuffixConfig(file=tmp_path / "outputs.sqlite")
    session = config.build_draft(ToyTarget()).open([1])
    session.advance(list(range(1, 25)) * 300)
    session.close()
    data = bytearray(config.file.read_bytes())
    data[200:] = b"\xff" * (len(data) - 200)
    config.file.write_bytes(data)

    with capture_logs() as logs:
        draft = config.build_draft(ToyTarget())
    assert [entry["event"] for entry in logs] == ["state_set_aside"]
    assert draft.open([1]).match_length == 0


@pytest.mark.parametrize("place", [0, 2000, 4096])
def test_damage_of_any_page_is_set_aside(tmp_path, place):
    config = SuffixConfig(file=tmp_path / "outputs.sqlite")
    session = config.build_draft(ToyTarget()).open([1])
    session.advance(list(range(1, 25)) * 300)
    session.close()
    data = bytearray(config.file.read_bytes())
    data[place : place + 50] = b"\x00" * 50
    data[4096 - 2000 : 4096] = b"\xff" * 2000
    config.file.write_bytes(data)

    assert config.build_draft(ToyTarget()).open([1]).match_length == 0
    assert (tmp_path / "outputs.sqlite.damaged-1").read_bytes() == data


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_drafted(tmp_path):
    (tmp_path / "no-folder").write_text("")
    for file in (tmp_path, tmp_path / "no-folder" / "outputs.sqlite"):
        with pytest.raises(paceline.PacelineError, match="folder"):
            SuffixConfig(file=file).build_draft(ToyTarget())


def test_requests_of_several_threads_share_a_memory():
    draft = SuffixConfig(memory=500).build_draft(ToyTarget())

    def serve(seed):
        random = Random(seed)
        for _ in range(60):
            session = draft.open([random.randrange(4) for _ in range(5)])
            for _ in range(10):
                session.advance([random.randrange(4), *session.draft(4, None).tokens])
            session.close()
        return seed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(serve, range(4))) == [0, 1, 2, 3]


def test_a_decoder_that_remembers_writes_the_same_text_in_fewer_rounds():
    target = ToyTarget()
    draft = SuffixConfig().build_draft(target)
    decoder = paceline.SpeculativeDecoder(target, {"suffix": draft}, StaticConfig(gamma=8).build())
    plain = paceline.SpeculativeDecoder(target, {}, StaticConfig(gamma=0).build())
    expected = plain.generate([1, 2, 3], max_new_tokens=60).tokens

    first, second = (decoder.generate([1, 2, 3], max_new_tokens=60) for _ in range(2))
    assert first.tokens == second.tokens == expected
    assert second.totals.rounds < 10 < first.totals.rounds


def test_its_identity_says_what_bears_on_acceptance():
    target = ToyTarget()
    identities = {
        SuffixConfig(**options).build_draft(target).identity
        for options in ({}, {"memory": 0}, {"max_match": 4})
    }

    assert len(identities) == 3
    assert SuffixConfig().build_draft(target).identity == "suffix, 1 to 32 tokens, memory 50000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_match": 4, "max_match": 2}, "min_match 4 is above max_match 2"),
        ({"memory": 0, "file": "x"}, "leave out one of both"),
    ],
)
def test_it_refuses_options_that_contradict_each_other(options, message):
    with pytest.raises(ValidationError, match=message):
        SuffixConfig(**options)
