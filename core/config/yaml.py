"""Reading a YAML file safely, and knowing on which line everything stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from paceline.core.config.errors import TOO_DEEP
from paceline.core.errors import ConfigError
from paceline.core.files import KIB, printable, read_text

_BOOLEAN = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "timestamp", "str", "seq", "map", "merge")
)
"""Tags that need no `!` to be understood."""

MAX_BYTES = 256 * KIB
"""Bytes of a run file: a long one has some kilobytes."""

MAX_VALUES = 20_000
"""Values of a file with every alias written out; a few lines of aliases of aliases may stand for billions."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file that was read.

    Attributes:
        name: The file's name as it was given.
        data: Its content.
        root: The composed tree, which knows lines; None for an empty file.
    """

    name: str
    data: dict[str, Any]
    root: yaml.Node | None

    def locate(self, path: tuple[int | str, ...]) -> tuple[int | None, str | None]:
        """Return the line of a path, and the text of the plain scalar found there.

        The line is that of the nearest ancestor that exists, by its key; None when not even the first key exists.
        The text is None unless the path ends at a scalar without quotes.
        """
        node, line = self.root, None
        for depth, part in enumerate(path):
            step = _step(node, part)
            if step is None:
                return line, None
            node, mark = step
            line = mark.line + 1
            if depth + 1 == len(path) and isinstance(node, yaml.ScalarNode) and node.style is None:
                return line, node.value
        return line, None


def read_yaml(path: Path) -> Document:
    """Read a file that holds one mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: The file cannot be read, or is not what is described here; names file and line.
    """
    text = read_text(
        path, ConfigError, most=MAX_BYTES, missing="give the path of a run file, or none for the defaults"
    )
    name = printable(path)
    root, data = _parsed(text, name)
    if root is None or root.tag == _NULL:
        return Document(name, {}, root)
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        line = root.start_mark.line + 1
        raise ConfigError(f"{name}:{line}: found {kind}; a run file is a mapping such as `policy: online`")
    return Document(name, data, root)


def parse_yaml(text: str, name: str) -> Any:
    """Return the value that a text stands for; `name` is what messages call it.

    Raises:
        ConfigError: It is no YAML, or holds what is refused in files as well; names the line.
    """
    return _parsed(text, name)[1]


def _parsed(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """Return the composed tree of a text, checked, and what it stands for."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        except (ValueError, OverflowError):
            # The scanner turns escapes and version numbers into what they stand for without a look.
            raise ConfigError(
                f"{name}:{loader.line + 1}: not YAML: an escape or a number here stands for nothing; write it out"
            ) from None
        return root, None if root is None else _construct(name, loader, root)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_reword(name, error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: found the control character #x{error.character:02x}; remove it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{name}: {TOO_DEEP}") from None


def _construct(name: str, loader: yaml.SafeLoader, root: yaml.Node) -> Any:
    """Return the data of a composed tree once it has been checked."""
    problems: list[str] = []
    _check(name, root, [], set(), problems)
    # Only a tree that does not lead back into itself can be counted.
    if not problems and (count := _count(root, {})) > MAX_VALUES:
        problems.append(
            f"{name}: stands for {_about(count)} values, aliases written out; at most {MAX_VALUES} are read"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return loader.construct_document(root)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a tree stands for with every alias written out; each node is looked at once."""
    if id(node) not in known:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_count(child, known) for child in children)
    return known[id(node)]


def _about(count: int) -> str:
    return str(count) if count < 10**9 else "billions of"


def _check(name: str, node: yaml.Node, above: list[yaml.Node], seen: set[int], problems: list[str]) -> None:
    """Collect what is wrong in a tree; an alias may lead to the same node many times, which is checked once."""
    line = node.start_mark.line + 1
    if any(node is other for other in above):
        problems.append(f"{name}:{line}: an alias leads back into what it stands for; write it out")
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.tag not in _PLAIN:
        problems.append(
            f"{name}:{line}: found the tag {node.tag!r}; YAML is read safely here, so write plain values without "
            "`!` tags"
        )
        return
    if isinstance(node, yaml.ScalarNode):
        try:
            yaml.SafeLoader("").construct_object(node)
        except ValueError as error:
            problems.append(
                f"{name}:{line}: {node.value:.60} looks like a number or date but is none: {error}; quote it"
            )
        # Where a tag was written that does not fit the text, what the library raises depends on the tag.
        except (LookupError, AttributeError, TypeError, OverflowError):
            problems.append(
                f"{name}:{line}: found {node.value!r:.60}, which does not fit its tag; leave the `!!` tag out"
            )
        return
    if isinstance(node, yaml.MappingNode):
        problems.extend(_bad_keys(name, node))
        children = [value for _, value in node.value]
    else:
        children = node.value
    for child in children:
        _check(name, child, [*above, node], seen, problems)


def _bad_keys(name: str, node: yaml.MappingNode) -> Iterator[str]:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield f"{name}:{line}: a key is a list or a mapping; keys are words"
        elif key.tag in {_BOOLEAN, _NULL}:
            meant = "a boolean" if key.tag == _BOOLEAN else "nothing"
            yield f"{name}:{line}: YAML reads the key `{key.value}` as {meant}; put it in quotes"
        elif key.tag != _MERGE and (key.tag, key.value) in first:
            before = first[key.tag, key.value]
            yield f"{name}:{line}: key {key.value!r} is given twice, first on line {before}; keep one"
        else:
            first[key.tag, key.value] = line


def _step(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Mark] | None:
    """Return the child of a node, and the mark of its key."""
    if isinstance(node, yaml.MappingNode):
        # Merged keys stand before a mapping's own, and the last one counts.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return value, key.start_mark
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark
    return None


def _reword(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}" if mark is not None else name
    what = error.problem or error.context or "not YAML"
    if "'\\t'" in what:
        return f"{where}: found a tab; indent with spaces"
    if what.startswith("but found another document"):
        return f"{where}: found a second document after `---`; a run file holds one"
    if isinstance(error, yaml.constructor.ConstructorError) and "tag" in what:
        return f"{where}: {what}; YAML is read safely here, so write plain values without `!` tags"
    if what.startswith("mapping values are not allowed"):
        return f"{where}: found a second `:` in one value; put the value in quotes"
    begin = f" that begins on line {error.context_mark.line + 1}" if error.context_mark is not None else ""
    context = f" ({error.context}{begin})" if error.context and error.problem else ""
    return f"{where}: not YAML: {what}{context}"
