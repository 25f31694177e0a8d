"""Runs a program of this folder: `python -I tools NAME [ARGUMENTS]`, from anywhere; without a name, lists them.

The programs are run by hand and are not part of the package: the wheel has none of them.
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def programs() -> dict[str, str]:
    """Return each program, as `NAME` or `FOLDER.NAME`, with the first line of its docstring."""
    docstrings = {}
    for path in sorted(HERE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path == HERE / "__main__.py" or not isinstance(last := tree.body[-1], ast.If):
            continue
        if ast.unparse(last.test) == "__name__ == '__main__'":
            name = path.relative_to(HERE).with_suffix("").as_posix().replace("/", ".")
            docstrings[name.removesuffix(".__main__")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return docstrings


def main(arguments: list[str]) -> None:
    """Run the program that is named first, with the arguments behind it."""
    if not arguments or arguments[0] not in programs():
        width = max(map(len, programs()))
        sys.exit("\n".join(f"{name:{width}}  {line}" for name, line in programs().items()))
    name, sys.argv = arguments[0], [f"tools {arguments[0]}", *arguments[1:]]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
