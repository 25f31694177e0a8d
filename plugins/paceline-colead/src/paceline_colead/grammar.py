"""Grammars of programs: read from BNF files, and used to parse, to count and to enumerate.

A program is one call, whose arguments are calls or literals: `INSERT ( colon , START ( ) , EVERY_LINE ( ) )`. It is
written as tokens with spaces between them. A rule offers alternatives; an alternative is a call of an API, each of
whose arguments is a rule `<name>` or a literal of a type, `$type`. An alternative in brackets is meant where a query
says nothing. A later file of a domain replaces the rules that it gives again: so the language grows, and arguments
change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from paceline_colead.errors import GrammarError, ProgramError

_RULE = re.compile(r"<(\w+)>\s*::=(.*)")
_CALL = re.compile(r"([A-Z][A-Z0-9_]*)\s*\(\s*(.*?)\s*\)")
_SYMBOL = re.compile(r"<\w+>|\$\w+")

Place = tuple[int, ...]
"""A place in a program: the index of the argument at each level; () is the program itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """An API with its arguments."""

    api: str
    arguments: tuple[Call | str, ...] = ()

    def tokens(self) -> tuple[str, ...]:
        """Return the tokens that write it."""
        inner: list[str] = []
        for argument in self.arguments:
            inner += [",", *((argument,) if isinstance(argument, str) else argument.tokens())]
        return (self.api, "(", *inner[1:], ")")

    def __str__(self) -> str:
        """Return it as a text that `Grammar.parse` reads."""
        return " ".join(self.tokens())


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to write a rule: a call of `api`."""

    api: str
    symbols: tuple[str, ...]
    default: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where the grammar allows a choice, and the choices above it that lead there."""

    place: Place
    symbol: str
    above: tuple[tuple[Place, Alternative], ...]


class Grammar:
    """The rules of a language, checked; the first rule is the program."""

    def __init__(self, rules: Mapping[str, tuple[Alternative, ...]], start: str) -> None:
        self.rules = dict(rules)
        self.start = start
        self._check(start, ())

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Grammar:
        """Read files in order; a rule that a later one gives again replaces the earlier one.

        Raises:
            GrammarError: A line is no rule, a rule is missing, comes back to itself or offers an API twice.
        """
        rules: dict[str, tuple[Alternative, ...]] = {}
        for path in paths:
            for number, name, text in _statements(path):
                rules[name] = tuple(_alternatives(f"{path.name}, line {number}", name, text))
        if not rules:
            raise GrammarError(f"{', '.join(path.name for path in paths) or 'no file'}: there is no rule")
        return cls(rules, next(iter(rules)))

    def _check(self, name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise GrammarError(
                f"grammar: {' -> '.join((*above, name))} comes back to itself; programs would have no end"
            )
        if name not in self.rules:
            raise GrammarError(
                f"grammar: {above[-1] if above else 'the start'} refers to {name}, which no rule gives; there are "
                f"{', '.join(sorted(self.rules))}"
            )
        for alternative in self.rules[name]:
            for symbol in alternative.symbols:
                if symbol.startswith("<"):
                    self._check(symbol, (*above, name))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All places of all programs with the paths that lead there: the grammar graph, unfolded.

        HISyn searches the reversed paths from an API to another in its grammar graph; without recursion all paths from
        the program to each API are few, and are kept.
        """
        return tuple(self._unfold((), self.start, ()))

    def _unfold(
        self, place: Place, symbol: str, above: tuple[tuple[Place, Alternative], ...]
    ) -> Iterator[Slot]:
        yield Slot(place, symbol, above)
        for alternative in self.rules.get(symbol, ()):
            for index, each in enumerate(alternative.symbols):
                yield from self._unfold((*place, index), each, (*above, (place, alternative)))

    @cached_property
    def apis(self) -> frozenset[str]:
        """Every API that a program may call."""
        return frozenset(each.api for rule in self.rules.values() for each in rule)

    @cached_property
    def literal_types(self) -> frozenset[str]:
        """Every type of literal, without its dollar."""
        symbols = (s for rule in self.rules.values() for each in rule for s in each.symbols)
        return frozenset(symbol[1:] for symbol in symbols if symbol.startswith("$"))

    @cached_property
    def defaults(self) -> dict[str, Call]:
        """The call of each rule that is meant where a query says nothing; most rules have none."""
        return {name: Call(each.api) for name, rule in self.rules.items() for each in rule if each.default}

    def parse(self, tokens: Sequence[str], literals: Mapping[str, Mapping[str, object]]) -> Call:
        """Return the program that the tokens write.

        Args:
            tokens: The tokens.
            literals: The values of each type.

        Raises:
            ProgramError: They write none; says at which token, and what could stand there.
        """
        call, end = self._parse(tokens, 0, self.start, literals)
        if end < len(tokens):
            raise ProgramError(f"program: it should have ended before token {end + 1}, {tokens[end]!r}", end)
        return call

    def following(
        self, tokens: Sequence[str], literals: Mapping[str, Mapping[str, object]]
    ) -> tuple[str, ...]:
        """Return the tokens that may follow the beginning of a program; none where it is complete.

        Raises:
            ProgramError: The tokens begin no program.
        """
        try:
            self.parse(tokens, literals)
        except ProgramError as error:
            if error.at == len(tokens):
                return error.allowed
            raise
        return ()

    def _parse(
        self, tokens: Sequence[str], at: int, symbol: str, literals: Mapping[str, Mapping[str, object]]
    ) -> tuple[Call, int]:
        offered = {each.api: each for each in self.rules[symbol]}
        alternative = offered[_expect(tokens, at, offered)]
        _expect(tokens, at + 1, ["("])
        at += 2
        arguments: list[Call | str] = []
        for index, each in enumerate(alternative.symbols):
            if index:
                _expect(tokens, at, [","])
                at += 1
            if each.startswith("$"):
                arguments.append(_expect(tokens, at, literals.get(each[1:], {})))
                at += 1
            else:
                call, at = self._parse(tokens, at, each, literals)
                arguments.append(call)
        _expect(tokens, at, [")"])
        return Call(alternative.api, tuple(arguments)), at + 1


def _expect(tokens: Sequence[str], at: int, allowed: Sequence[str] | Mapping[str, object]) -> str:
    if at < len(tokens) and tokens[at] in allowed:
        return tokens[at]
    there = repr(tokens[at]) if at < len(tokens) else "its end"
    raise ProgramError(
        f"program: at token {at + 1} stands {there}; it may be {', '.join(allowed)}", at, tuple(allowed)
    )


def _statements(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, name and text of each rule of a file; lines that begin with a bar go on with a rule."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GrammarError(f"{path.name}: cannot be read: {error}") from error
    rule: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if text.startswith("|") and rule is not None:
            rule = (rule[0], rule[1], f"{rule[2]} {text}")
            continue
        match = _RULE.fullmatch(text)
        if match is None:
            raise GrammarError(
                f"{path.name}, line {number}: {text!r} is no rule; write <name> ::= API ( <argument> , $literal ) | ..."
            )
        if rule is not None:
            yield rule
        rule = (number, f"<{match[1]}>", match[2])
    if rule is not None:
        yield rule


def _alternatives(where: str, name: str, text: str) -> Iterator[Alternative]:
    names: set[str] = set()
    for part in text.split("|"):
        stripped = part.strip()
        default = stripped.startswith("[") and stripped.endswith("]")
        match = _CALL.fullmatch(stripped.strip("[]").strip() if default else stripped)
        symbols = [] if match is None or not match[2] else [each.strip() for each in match[2].split(",")]
        if match is None or not all(_SYMBOL.fullmatch(symbol) for symbol in symbols):
            raise GrammarError(
                f"{where}: {name} offers {stripped!r}; an alternative is API ( <argument> , $literal )"
            )
        if default and symbols:
            raise GrammarError(f"{where}: {name} has {stripped} for default; a default takes no arguments")
        if match[1] in names:
            raise GrammarError(f"{where}: {name} offers {match[1]} twice; programs would be ambiguous")
        names.add(match[1])
        yield Alternative(match[1], tuple(symbols), default)
