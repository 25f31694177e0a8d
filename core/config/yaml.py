"""Reading a YAML file safely, and knowing on which line everything stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from paceline.core.errors import ConfigError

_BOOLEAN = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


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
    name = str(path)
    text = _read(path, name)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        data = _construct(name, loader, root)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_reword(name, error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: found the control character #x{error.character:02x}; remove it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; a run needs a few levels") from None
    return Document(name, data, root)


def _construct(name: str, loader: yaml.SafeLoader, root: yaml.Node | None) -> dict[str, Any]:
    """Return the data of a composed tree that has been checked."""
    if root is None or root.tag == _NULL:
        return {}
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        line = root.start_mark.line + 1
        raise ConfigError(f"{name}:{line}: found {kind}; a run file is a mapping such as `policy: online`")
    problems: list[str] = []
    _check(name, root, [], set(), problems)
    if problems:
        raise ConfigError("\n".join(problems))
    data: dict[str, Any] = loader.construct_document(root)
    return data


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{name}: no such file; give the path of a run file, or none for the defaults"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 (byte {error.start}); save it in that encoding") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from None


def _check(name: str, node: yaml.Node, above: list[yaml.Node], seen: set[int], problems: list[str]) -> None:
    """Collect what is wrong in a tree; an alias may lead to the same node many times, which is checked once."""
    line = node.start_mark.line + 1
    if any(node is other for other in above):
        problems.append(f"{name}:{line}: an alias leads back into what it stands for; write it out")
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        try:
            yaml.SafeLoader("").construct_object(node)
        except ValueError as error:
            problems.append(
                f"{name}:{line}: {node.value} looks like a number or date but is none: {error}; quote it"
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
