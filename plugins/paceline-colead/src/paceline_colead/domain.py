"""A domain: its grammar at a stage of growth, its APIs and literals, and pairs of query and program made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from paceline_colead.errors import GrammarError
from paceline_colead.grammar import Call, Grammar

FOLDER = Path(__file__).parent / "domains"

DOMAINS = tuple(sorted(path.name for path in FOLDER.iterdir() if (path / "domain.yaml").exists()))
"""The domains that come with the package."""

HELD_OUT = "~ "
"""Begins a phrase that only test queries have."""

Words = Annotated[str, BeforeValidator(str)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Api(_Strict):
    """The documentation of an API, and the phrases that queries use for it."""

    description: str
    phrases: tuple[str, ...]


class DomainFile(_Strict):
    """The text of `domain.yaml`."""

    apis: dict[Words, Api]
    literals: dict[str, dict[Words, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the program that it means."""

    query: str
    program: Call


@dataclass(frozen=True)
class Domain:
    """A command language at one stage."""

    name: str
    stage: int
    grammar: Grammar
    file: DomainFile
    stages: int

    @classmethod
    def load(cls, name: str, stage: int | None = None, *, folder: Path | None = None) -> Domain:
        """Read a domain that comes with the package, or of a folder like those.

        Args:
            name: Its name.
            stage: How far it has grown, from 1; by default as far as there are files.
            folder: Where its files lie, if it is your own.

        Raises:
            GrammarError: A file is missing or not usable, or there is no such stage.
        """
        if folder is None and name not in DOMAINS:
            raise GrammarError(f"domain {name!r} is none of {', '.join(DOMAINS)}")
        at = FOLDER / name if folder is None else folder
        files = sorted(at.glob("stage*.bnf"))
        stage = len(files) if stage is None else stage
        if not 1 <= stage <= len(files):
            raise GrammarError(f"{name}: there is no stage {stage}; there are 1 to {len(files)}")
        try:
            file = DomainFile.model_validate(yaml.safe_load((at / "domain.yaml").read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise GrammarError(f"{name}: domain.yaml is not usable: {error}") from error
        grammar = Grammar.read(files[:stage])
        if missing := sorted(grammar.apis - set(file.apis)):
            raise GrammarError(f"{name}: domain.yaml does not describe {', '.join(missing)}")
        if missing := sorted(grammar.literal_types - set(file.literals)):
            raise GrammarError(f"{name}: domain.yaml has no literals of type {', '.join(missing)}")
        return cls(name, stage, grammar, file, len(files))

    @cached_property
    def words(self) -> list[str]:
        """Every word of queries and programs, of all stages and of descriptions; the tokens of a model."""
        words = {"(", ")", ","}
        for api, about in self.file.apis.items():
            words |= {api, *normalised(about.description)}
            for phrase in about.phrases:
                words |= {word for word in normalised(phrase) if not word.startswith("{") and word != "~"}
        for values in self.file.literals.values():
            for value, forms in values.items():
                words |= {value, *(word for form in forms for word in form.split())}
        return sorted(words)

    def parse(self, text: str) -> Call:
        """Return the program that a text writes.

        Raises:
            ProgramError: It is no program of this stage.
        """
        spaced = text.replace("(", " ( ").replace(")", " ) ").replace(",", " , ")
        return self.grammar.parse(spaced.split(), self.file.literals)

    def pairs(self, rng: Random, *, held_out: bool = False) -> Iterator[Pair]:
        """Yield pairs without end, drawn evenly over the alternatives of each rule.

        Args:
            rng: Draws programs and phrases.
            held_out: Whether held-out phrases are among those that are drawn from.
        """
        while True:
            program = self._draw(rng, self.grammar.start, set())
            query = " ".join(self._say(rng, program, held_out=held_out).split())
            yield Pair(query, program)

    def literals_in(self, query: str) -> dict[str, dict[str, tuple[str, ...]]]:
        """Return by type the literals that a query names, and how it may name them."""
        text = f" {' '.join(normalised(query))} "
        return {
            kind: {
                value: forms for value, forms in values.items() if any(f" {form} " in text for form in forms)
            }
            for kind, values in self.file.literals.items()
        }

    def varied(self, pair: Pair, rng: Random) -> Pair:
        """Return the pair with other literals of the same types, in its query and its program.

        A literal that the query does not name as the domain knows it stays, in both.
        """
        words = f" {' '.join(normalised(pair.query))} "
        changes: dict[str, str] = {}
        for values in self.file.literals.values():
            named = [value for value in values if value in pair.program.tokens()]
            for value, other in zip(named, rng.sample(list(values), len(named)), strict=True):
                forms = [form for form in values[value] if f" {form} " in words]
                if not forms:
                    return pair
                # A mark keeps what was written just now from being replaced again.
                words = words.replace(f" {max(forms, key=len)} ", f" \0{rng.choice(values[other])} ")
                changes[value] = other
        return Pair(" ".join(words.replace("\0", "").split()), _renamed(pair.program, changes))

    def _draw(self, rng: Random, symbol: str, used: set[str]) -> Call:
        """Draw a program in which no literal comes twice."""
        alternative = rng.choice(self.grammar.rules[symbol])
        arguments: list[Call | str] = []
        for each in alternative.symbols:
            if each.startswith("$"):
                arguments.append(rng.choice([v for v in self.file.literals[each[1:]] if v not in used]))
                used.add(str(arguments[-1]))
            else:
                arguments.append(self._draw(rng, each, used))
        return Call(alternative.api, tuple(arguments))

    def _say(self, rng: Random, call: Call, *, held_out: bool) -> str:
        phrases = self.file.apis[call.api].phrases
        phrase = rng.choice([each for each in phrases if held_out or not each.startswith(HELD_OUT)])
        said = [
            self._literal(rng, each) if isinstance(each, str) else self._say(rng, each, held_out=held_out)
            for each in call.arguments
        ]
        said += [""] * (6 - len(said))  # phrases may name arguments that an earlier stage lacks
        return phrase.removeprefix(HELD_OUT).format(*said)

    def _literal(self, rng: Random, value: str) -> str:
        (forms,) = (values[value] for values in self.file.literals.values() if value in values)
        return rng.choice(forms)


def _renamed(call: Call, changes: Mapping[str, str]) -> Call:
    return Call(
        call.api,
        tuple(
            changes.get(each, each) if isinstance(each, str) else _renamed(each, changes)
            for each in call.arguments
        ),
    )


def normalised(text: str) -> list[str]:
    """Return the words of a text, small, without marks."""
    return "".join(" " if mark in ",.;:?!\"'" else mark for mark in text.lower()).split()


def distinct(pairs: Iterator[Pair], count: int, exclude: frozenset[str] = frozenset()) -> list[Pair]:
    """Return `count` pairs of different queries, none of them in `exclude`; fewer where a language is too small."""
    chosen: dict[str, Pair] = {}
    for _ in range(50 * count):
        pair = next(pairs)
        if pair.query not in exclude:
            chosen.setdefault(pair.query, pair)
        if len(chosen) == count:
            break
    return list(chosen.values())
