"""`paceline new-policy`: a package to begin with."""

from __future__ import annotations

import shlex
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.scaffold.package import Package, write


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
        found = metadata.distribution(package.distribution)
    except metadata.PackageNotFoundError:
        return
    raise ConfigError(f"{package.distribution} {found.version} is installed already; choose another name")
