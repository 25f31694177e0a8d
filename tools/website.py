"""Builds the site from README, docs and the docstrings of everything public; any dead link is an error."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "public_api.txt"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
AS_THEY_ARE = frozenset({".svg", ".png"})


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the tree that match, as paths below its root."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)  # noqa: S603, S607
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def notebook(text: str) -> str:
    """Return a notebook as Markdown, without what it printed."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)


PAGES: Mapping[str, Callable[[str], str]] = {".md": str, ".ipynb": notebook}
"""Kinds of files that are pages, and how they become Markdown."""


class Pages:
    """The pages of the site, laid out like the tree, so that links between them stay as they are.

    Args:
        folder: Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: set[Path] = set()

    def write(self) -> None:
        """Write every page, and each source file that one of them links to."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in tracked("*.md", "*.ipynb", "docs/pictures/*"):
            if path.suffix in PAGES:
                text = (ROOT / path).read_text("utf-8")
                self._page(self._name(path), self._linked(PAGES[path.suffix](text), path.parent))
            else:
                (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, self._folder / path)
        for source in sorted(self._sources):
            self._page(Path(f"{source}.md"), self._source(source))
        for module in re.findall(r"^\[(.+)\]$", RECORD.read_text("utf-8"), re.MULTILINE):
            self._page(Path("reference") / f"{module}.md", "\n".join(reference(module)))

    def _page(self, path: Path, text: str) -> None:
        (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / path).write_text(text, "utf-8")

    @staticmethod
    def _name(path: Path) -> Path:
        return Path("index.md") if path == Path("README.md") else path.with_suffix(".md")

    def _linked(self, text: str, folder: Path) -> str:
        """Return a page whose links to source files lead to pages that show them."""

        def target(match: re.Match[str]) -> str:
            path = Path(os.path.normpath(folder / match[1]))
            if path.suffix in PAGES or not (ROOT / path).exists():
                to = self._name(path)
            elif path.suffix in AS_THEY_ARE:
                to = path
            else:
                self._sources.add(path)
                to = Path(f"{path}.md")
            return os.path.relpath(to, folder) + match[2]

        return LINK.sub(target, text)

    @staticmethod
    def _source(path: Path) -> str:
        """Return the page that shows a source file, or the names in a folder."""
        if (ROOT / path).is_dir():
            names = "\n".join(f"- `{name.relative_to(path)}`" for name in tracked(f"{path}/*"))
            return f"# {path}\n\n{names}\n"
        language = {".py": "python"}.get(path.suffix, "text")
        return f"# {path}\n\n```{language}\n{(ROOT / path).read_text('utf-8')}\n```\n"


def reference(module: str) -> Iterator[str]:
    """Yield the lines of the page of a public module: its docstring, then everything in its `__all__`."""
    public = importlib.import_module(module)
    yield f"# {module}\n"
    yield f"{public.__doc__}\n"
    for name in sorted(public.__all__):
        thing = getattr(public, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"## {name}\n"
            yield f"::: {thing.__module__}.{thing.__qualname__}"
            yield "    options: {show_root_heading: false, show_root_toc_entry: false}\n"
        elif typing.get_origin(thing) is not None:
            yield f"## {name}\n\nA type for annotations.\n"
        else:
            yield f"## {name}\n\n`{name} = {thing!r}`\n"


def main() -> None:
    """Build the site into a folder."""
    options = argparse.ArgumentParser(prog="tools website", description=__doc__)
    options.add_argument("--out", type=Path, default=ROOT / "runs" / "site", help="the folder of the site")
    out = options.parse_args().out.resolve()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    pages = out.with_name(f"{out.name}.pages")
    Pages(pages).write()
    settings = load_config(
        str(Path(__file__).with_name("mkdocs.yml")), docs_dir=str(pages), site_dir=str(out), strict=True
    )
    sys.path.insert(0, str(ROOT / "src"))
    build(settings)
    sys.stdout.write(f"the site is {out / 'index.html'}\n")


if __name__ == "__main__":
    main()
