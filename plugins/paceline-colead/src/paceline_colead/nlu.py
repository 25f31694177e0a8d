"""The NLU-driven synthesizer: from the words of a query over the documentation to the shortest program. No training.

After HISyn (Nan, Guan, Shen: "HISyn: Human Learning-Inspired Natural Language Programming", FSE 2020;
https://github.com/PictureResearch/HISyn), whose steps are:

1. a *grammar graph* is built from grammar and API documents (`Grammar.slots`);
2. named entities of the domain are found in the query (`literals`);
3. words are mapped to the APIs whose description has them, compared without their endings (`Lexicon`);
4. for each mapped word, all reversed paths in the grammar graph from its API to that of the word that governs it;
5. of all combinations that the grammar allows, the one with the fewest APIs is taken, its arguments filled in.

HISyn takes governors from a dependency parse by Stanford CoreNLP. Here distance takes its place: of the places that
take a literal, it goes to the one whose API was named nearest. Combinations are searched by a beam over the
words, in the place of HISyn's product over all paths. Programs are ranked by

    sum of weights of mapped words  -  0.05 x number of APIs  -  0.1 x sum of sqrt(distance to the governor).

A root, since it lets a literal that could go to two governors have the near one where another literal has no choice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from paceline_colead.domain import Domain, normalised
from paceline_colead.errors import QueryError
from paceline_colead.grammar import Alternative, Call, Place

FUNCTION_WORDS = frozenset(
    {"a", "an", "and", "are", "at", "for", "i", "in", "is", "it", "me", "of", "one", "or", "please"}
    | {"that", "the", "then", "there", "this", "what", "which", "with"}
)
"""Words that name nothing; HISyn prunes them by their part of speech."""

BEAM = 12
API_COST = 0.05
DISTANCE_COST = 0.1
UNNAMED_COST = 0.3
"""An API that no word named, though it takes a literal, may be there; it costs this much."""

REPEATED = 0.5
"""The share of its weight that a further word for the same API counts."""

MARGIN = 0.03
"""A program is certain when the next one ranks lower by at least this much."""

WEAKEST = 0.4
"""Learnt mappings of less weight are left out, so that a word has two at most."""

Choice = tuple[Place, Alternative]


def stem(word: str) -> str:
    """Return a word without its ending: part of step 1 of Porter's algorithm (1980), and no final e."""
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word.removesuffix("e")


class Lexicon:
    """The APIs that a word may mean, with weights between 0 and 1.

    A word of a description weighs the more, the fewer descriptions have it. Words that no description has may be known
    by a learnt weight, the data-driven side's share.

    Args:
        domain: Its descriptions are read.
        learnt: Weight of each API for each word, if there are any.
    """

    def __init__(self, domain: Domain, learnt: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._apis = domain.grammar.apis
        self._learnt = learnt or {}
        described: dict[str, set[str]] = defaultdict(set)
        for api in sorted(self._apis):
            for word in normalised(domain.file.apis[api].description):
                if word not in FUNCTION_WORDS:
                    described[stem(word)].add(api)
        scale = math.log(len(self._apis) + 1)
        self._described = {
            word: {api: 1.0 - math.log(len(apis)) / scale for api in sorted(apis)}
            for word, apis in described.items()
        }

    def weights(self, word: str) -> dict[str, float]:
        """Return the weight of each API that the word may mean."""
        if word in FUNCTION_WORDS:
            return {}
        learnt = self._learnt.get(word, {})
        return self._described.get(stem(word)) or {
            api: weight for api, weight in learnt.items() if api in self._apis and weight >= WEAKEST
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """A program with its rank."""

    program: Call
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A query as the synthesizer understands it.

    Attributes:
        programs: The programs it may mean, best first.
        unknown: Words that name nothing here.
        unplaced: Literals, and words that name an API, for which the best program has no place.
        guessed: Whether no word names the outermost API of the best program.
    """

    programs: tuple[Ranked, ...]
    unknown: tuple[str, ...]
    unplaced: tuple[str, ...]
    guessed: bool

    @property
    def tied(self) -> list[Call]:
        """The programs that are about as good as the best one, it included."""
        return [each.program for each in self.programs if self.programs[0].score - each.score < MARGIN]

    @property
    def ambiguous(self) -> bool:
        """True if the second program is about as good as the first."""
        return len(self.tied) > 1

    @property
    def certain(self) -> bool:
        """True if every word and every literal has a meaning and there is but one program."""
        return bool(self.programs) and not (self.unknown or self.unplaced or self.guessed or self.ambiguous)


@dataclass(frozen=True, slots=True)
class _State:
    """A part of a program: its choices, where each API was named, and the literals that it has."""

    choices: Mapping[Place, Alternative] = field(default_factory=dict)
    heads: Mapping[Place, tuple[int, ...]] = field(default_factory=dict)
    literals: Mapping[Place, tuple[str, int]] = field(default_factory=dict)
    unplaced: tuple[str, ...] = ()
    score: float = 0.0

    def with_choices(self, path: tuple[Choice, ...]) -> dict[Place, Alternative] | None:
        """Return its choices and those of a path; None where they contradict each other."""
        choices = dict(self.choices)
        for place, alternative in path:
            if choices.setdefault(place, alternative) is not alternative:
                return None
        return choices


@dataclass(frozen=True, slots=True)
class _Item:
    """A word of a query or a literal in it, with its place there."""

    at: int
    text: str
    values: tuple[tuple[str, str], ...]
    apis: Mapping[str, float]


class NluSynthesizer:
    """Makes programs of queries by the documentation of a domain.

    Args:
        domain: The domain, at its stage.
        learnt: What the data-driven side shares; see `Lexicon`.
    """

    def __init__(self, domain: Domain, learnt: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.domain = domain
        self.lexicon = Lexicon(domain, learnt)
        self._forms = {
            tuple(form.split()): [*(other for other in self._types(form))]
            for values in domain.file.literals.values()
            for forms in values.values()
            for form in forms
        }
        self._longest = max((len(form) for form in self._forms), default=1)

    def _types(self, form: str) -> Iterator[tuple[str, str]]:
        for kind, values in self.domain.file.literals.items():
            yield from (
                (f"${kind}", value)
                for value, forms in values.items()
                if form in forms and kind in self.domain.grammar.literal_types
            )

    @cached_property
    def _paths(self) -> dict[str, list[tuple[Place, tuple[Choice, ...]]]]:
        """The places of each API and literal type, with the choices that lead there."""
        paths: dict[str, list[tuple[Place, tuple[Choice, ...]]]] = defaultdict(list)
        grammar = self.domain.grammar
        for slot in grammar.slots:
            if slot.symbol.startswith("$"):
                paths[slot.symbol].append((slot.place, slot.above))
            for alternative in grammar.rules.get(slot.symbol, ()):
                paths[alternative.api].append((slot.place, (*slot.above, (slot.place, alternative))))
        return paths

    def program(self, query: str) -> Call:
        """Return the program that a query means.

        Raises:
            QueryError: There is none, it is ambiguous or a guess, or leaves out what was named; says what is missing or
                what the query may mean. Words that name nothing are passed over.
        """
        reading = self.read(query)
        if not reading.programs:
            known = ", ".join(sorted(self.domain.grammar.apis))
            unknown = f"; unknown words: {', '.join(reading.unknown)}" if reading.unknown else ""
            raise QueryError(
                f"{self.domain.name}: no complete program in {query!r}{unknown}. A program is made of {known}, and "
                f"its literals ({', '.join(sorted(self.domain.grammar.literal_types))}) must stand in the query"
            )
        if reading.unplaced:
            raise QueryError(
                f"{self.domain.name}: in {query!r} there is no place for {', '.join(reading.unplaced)}; the nearest "
                f"program is {reading.programs[0].program}"
            )
        if reading.guessed:
            raise QueryError(
                f"{self.domain.name}: no word of {query!r} names a command; it may be one of "
                f"{', '.join(each.api for each in self.domain.grammar.rules[self.domain.grammar.start])}"
            )
        if reading.ambiguous:
            first, second = reading.programs[:2]
            raise QueryError(
                f"{self.domain.name}: {query!r} is ambiguous; it may mean {first.program} or {second.program}"
            )
        return reading.programs[0].program

    def read(self, query: str) -> Reading:
        """Return what a query may mean; no programs where no complete one is found."""
        items = list(self._items(normalised(query)))
        unknown = tuple(
            item.text
            for item in items
            if not item.apis and not item.values and item.text not in FUNCTION_WORDS
        )
        # APIs first: a literal goes to where one was named.
        states = [_State()]
        for item in sorted(items, key=lambda each: bool(each.values)):
            if item.apis or item.values:
                states = self._extended(states, item)
        ranked: dict[Call, _State] = {}
        for state in states:
            program = self._completed(state, (), self.domain.grammar.start)
            if program is not None and (program not in ranked or state.score > ranked[program].score):
                ranked[program] = state
        best = sorted(ranked.items(), key=lambda each: -each[1].score)
        return Reading(
            tuple(Ranked(program, state.score) for program, state in best),
            unknown,
            best[0][1].unplaced if best else (),
            bool(best) and () not in best[0][1].heads,
        )

    def _items(self, words: list[str]) -> Iterator[_Item]:
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                form = tuple(words[at : at + length])
                if form in self._forms and (length > 1 or form[0] not in FUNCTION_WORDS):
                    apis = self.lexicon.weights(form[-1]) if length == 1 else {}
                    yield _Item(at + length - 1, " ".join(form), tuple(self._forms[form]), apis)
                    at += length
                    break
            else:
                yield _Item(at, words[at], (), self.lexicon.weights(words[at]))
                at += 1

    def _extended(self, states: list[_State], item: _Item) -> list[_State]:
        further: dict[object, _State] = {}
        for state in states:
            for each in (self._skipped(state, item), *self._placed(state, item), *self._named(state, item)):
                key = (
                    tuple(sorted((place, chosen.api) for place, chosen in each.choices.items())),
                    tuple(sorted(each.literals.items())),
                )
                if key not in further or each.score > further[key].score:
                    further[key] = each
        return sorted(further.values(), key=lambda state: -state.score)[:BEAM]

    def _skipped(self, state: _State, item: _Item) -> _State:
        unplaced = (*state.unplaced, item.text)
        cost = 1.0 if item.values else 0.0
        return _State(state.choices, state.heads, state.literals, unplaced, state.score - cost)

    def _placed(self, state: _State, item: _Item) -> Iterator[_State]:
        """Yield the states in which the literal has a place."""
        for kind, value in item.values:
            for place, path in self._paths.get(kind, ()):
                choices = None if place in state.literals else state.with_choices(path)
                if choices is not None:
                    # Without a word for its API the place is a guess; the number of APIs decides between guesses.
                    cost = self._distance(state, place, item.at) + API_COST * (
                        len(choices) - len(state.choices)
                    )
                    literals = {**state.literals, place: (value, item.at)}
                    yield _State(choices, state.heads, literals, state.unplaced, state.score + 1.0 - cost)

    def _named(self, state: _State, item: _Item) -> Iterator[_State]:
        """Yield the states in which the word names an API."""
        for api, weight in item.apis.items():
            for place, path in self._paths.get(api, ()):
                choices = state.with_choices(path)
                if choices is None:
                    continue
                gain = weight * (REPEATED if place in state.heads else 1.0)
                cost = API_COST * (len(choices) - len(state.choices))
                heads = {**state.heads, place: (*state.heads.get(place, ()), item.at)}
                yield _State(choices, heads, state.literals, state.unplaced, state.score + gain - cost)

    def _distance(self, state: _State, place: Place, at: int) -> float:
        """Return the cost of a literal's distance to the nearest API above it that a word named."""
        above = place[:-1]
        cost = 0.0 if above in state.heads else UNNAMED_COST
        while above not in state.heads and above:
            above = above[:-1]
        return cost + DISTANCE_COST * math.sqrt(min(abs(at - head) for head in state.heads.get(above, (-1,))))

    def _completed(self, state: _State, place: Place, symbol: str) -> Call | None:
        """Return the program with defaults where nothing was said; None where something is missing."""
        alternative = state.choices.get(place)
        if alternative is None:
            return self.domain.grammar.defaults.get(symbol)
        arguments: list[Call | str] = []
        for index, each in enumerate(alternative.symbols):
            inner = (*place, index)
            argument = (
                state.literals.get(inner, (None,))[0]
                if each.startswith("$")
                else self._completed(state, inner, each)
            )
            if argument is None:
                return None
            arguments.append(argument)
        return Call(alternative.api, tuple(arguments))
