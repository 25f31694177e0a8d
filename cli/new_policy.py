"""`paceline new-policy`: a package to begin with, its names, and its files, made from the templates beside this."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from paceline.core.errors import ConfigError
from paceline.core.files import check_output, printable, write_text
from paceline.core.plugins.catalogue import Catalogue

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 24
"""Letters of a name: the files' lines stay within what formatters allow by default."""

PREFIX = "paceline-"
UNUSABLE = frozenset({"policy"})
"""Its classes would have a name that the file imports."""


def new_policy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What run files shall call the policy.")],
    *,
    into: Annotated[
        Path, typer.Option("--dir", "-d", metavar="DIR", help="Make the package's folder in this one.")
    ] = Path(),
) -> None:
    """Write an installable package with a small policy that works, and its tests.

    The folder is called paceline-NAME. Nothing that exists is overwritten, and nothing is installed.
    """
    package = Package(name)
    _refuse_if_taken(package)
    folder = write(package, into, metadata.version("paceline"))
    place = shlex.quote(str(folder))
    typer.echo(f"wrote {folder}; the policy is in {folder / 'src' / package.module / '__init__.py'}\n")
    typer.echo(f"  python -m pip install --editable {shlex.quote(f'{folder}[test]')}")
    typer.echo(f"  python -m pytest {place}")
    typer.echo(f"  paceline generate --demo --policy {package.name}")


def _refuse_if_taken(package: Package) -> None:
    """Refuse a name that an installed policy or distribution has.

    Raises:
        ConfigError: It is taken; the message says by what.
    """
    catalogue = Catalogue.load()
    entries = [*catalogue.policy_clashes.get(package.name, ())]
    if package.name in catalogue.policies:
        entries.append(catalogue.policies[package.name])
    if entries:
        raise ConfigError(
            f"there is a policy {package.name!r} already, from {entries[0].provider}; choose another name"
        )
    try:
        installed = metadata.distribution(package.distribution)
    except metadata.PackageNotFoundError:
        return
    raise ConfigError(f"{package.distribution} {installed.version} is installed already; choose another name")


@dataclass(frozen=True, slots=True)
class Package:
    """A policy's name, and the names that follow from it.

    Raises:
        ConfigError: The name cannot be that of a policy, a distribution and a module at once.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name.startswith(PREFIX) and NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} is no name for a policy: leave out {PREFIX!r}, which the package gets by itself"
            )
        if not NAME.fullmatch(self.name) or len(self.name) > LONGEST or self.name in UNUSABLE:
            raise ConfigError(
                f"{self.name!r} is no name for a policy: it must begin with a small letter, hold small letters, digits "
                f"and single dashes between them, and have at most {LONGEST} characters, as in 'see-saw'"
                + (f"; and not be {self.name!r}" if self.name in UNUSABLE else "")
            )

    @property
    def distribution(self) -> str:
        """The name that pip knows."""
        return PREFIX + self.name

    @property
    def module(self) -> str:
        """The name that Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def title(self) -> str:
        """The beginning of the names of its classes."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def texts(self, version: str) -> dict[str, str]:
        """Return the text of each file by its path; it will ask for this `version` of paceline or a newer one."""
        values = {
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "title": self.title,
            "version": version,
        }
        templates = files(__package__) / "templates"
        made_from = {
            "pyproject.toml": "pyproject.toml.txt",
            "README.md": "README.md.txt",
            f"src/{self.module}/__init__.py": "module.py.txt",
            f"tests/test_{self.module}.py": "test.py.txt",
        }
        texts = {
            path: Template((templates / template).read_text(encoding="utf-8")).substitute(values)
            for path, template in made_from.items()
        }
        return texts | {f"src/{self.module}/py.typed": ""}


def write(package: Package, parent: Path, version: str) -> Path:
    """Write the files of a package into a new folder of `parent`, and return that folder.

    Raises:
        ConfigError: Something of this name is there already; it is left as it is. Or nothing can be written there.
        PacelineError: The disk does not allow it; nothing is left of the folder.
    """
    folder = parent / package.distribution
    texts = package.texts(version)
    if os.path.lexists(folder):
        raise ConfigError(
            f"{printable(folder)} exists already; choose another name, or another place with --dir"
        )
    check_output(folder)
    try:
        for path, text in texts.items():
            write_text(folder / path, text)
    except BaseException:
        # What is left would be in the way of the next try.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
