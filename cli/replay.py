"""`paceline replay`: policies on a recording, without a model; or a serving trace, checked decision by decision."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from paceline.cli.interrupts import exit_code
from paceline.cli.options import ConfigOption, JsonOption, SetOption, read_config
from paceline.cli.record import DEFAULT
from paceline.core.errors import ConfigError, TraceError
from paceline.core.extras import require
from paceline.core.inputs import shown
from paceline.core.outputs import check_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.config.blocks import PolicyConfig

REPLAY = Path("runs/replay.jsonl")
DEFAULT_ORDERS = "shuffled,by-kind"
DEFAULT_STARTS = "warm,cold"


def replay(
    recording: Annotated[
        Path, typer.Argument(metavar="[RECORDING]", help="What `paceline record` wrote, or a serving trace.")
    ] = DEFAULT,
    *,
    config: ConfigOption = None,
    changes: SetOption = None,
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies", "-p", metavar="a,b,...", help="What to try beside plain decoding; by default `all`."
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option("--order", metavar="a,b,...", help="Of recorded, shuffled, by-kind, switching."),
    ] = DEFAULT_ORDERS,
    start: Annotated[str, typer.Option("--start", metavar="a,b", help="Of warm, cold.")] = DEFAULT_STARTS,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from 0.")] = 3,
    draws: Annotated[
        int | None,
        typer.Option("--draws", min=1, help="Draw agreement anew so often; for sampled recordings."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Where the passes go.")] = REPLAY,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; by default one a core.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin the file anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Try policies on a recording in virtual time, and rank them.

    An interrupted replay goes on where it stopped when the same command is given again. A serving trace is checked
    instead: its policy, with the recorded times, must take every decision again.
    """
    orders, starts = _listed("--order", order), _listed("--start", start)
    configured = _configured(config, changes)
    require("numpy")
    # Numbers, plugins and tables are loaded only now, so that a wrong option is told at once.
    from paceline.cli import replaying  # noqa: PLC0415
    from paceline.cli.serving import checked  # noqa: PLC0415
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.machine import cores  # noqa: PLC0415
    from paceline.lab.policies import split  # noqa: PLC0415
    from paceline.lab.recording.reader import read_recording  # noqa: PLC0415
    from paceline.lab.replay.choosing import choose  # noqa: PLC0415
    from paceline.lab.replay.draws import check_drawn  # noqa: PLC0415
    from paceline.lab.replay.planning import Settings  # noqa: PLC0415
    from paceline.lab.replay.serving import is_serving  # noqa: PLC0415

    check_output(out, inputs=[recording, *([config] if config is not None else [])])
    if not recording.is_file():
        raise TraceError(
            f"there is no recording {recording}; make one with `paceline record`, or name another"
        )
    catalogue = Catalogue.load()
    names = split(policies or "", ",")
    if is_serving(recording):
        raise typer.Exit(checked(recording, catalogue, names, as_json=as_json))
    found = read_recording(recording)
    if not found.complete:
        count = len(found.texts.names())
        sys.stderr.write(
            f"paceline: {shown(recording)} was interrupted or cut off; {count} texts of it are replayed\n"
        )
    if draws is not None:
        check_drawn(found.header)
    chosen = choose(found.header, catalogue, names, configured=configured)
    settings = Settings(orders, starts, seeds, draws)
    try:
        result = replaying.replayed(
            recording, out, chosen, settings, header=found.header, jobs=jobs or cores(), force=force
        )
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"paceline: interrupted; the same command goes on from the last pass in {out}\n")
        raise typer.Exit(exit_code(stop)) from None
    tables = replaying.tables(result, found)
    if as_json:
        sys.stdout.write(json.dumps(replaying.to_json(result, tables, out), indent=2) + "\n")
    else:
        replaying.show(result, tables, found.header, out)
    raise typer.Exit(int(any(name in result.left_out for name in names)))


def _listed(option: str, value: str) -> Any:
    """Return the values of an option that takes several, each once.

    Raises:
        ConfigError: One is not allowed, or there is none.
    """
    from paceline.lab.replay.results import Order, Start  # noqa: PLC0415

    allowed = get_args(Order if option == "--order" else Start)
    values = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    wrong = [one for one in values if one not in allowed]
    if wrong or not values:
        raise ConfigError(f"{option} takes some of {', '.join(allowed)}; found {', '.join(wrong) or 'none'}")
    return values


def _configured(config: Path | None, changes: Sequence[str] | None) -> PolicyConfig | None:
    """Return the policy of a run file; None where neither a file nor a change was given."""
    if config is None and not changes:
        return None
    return read_config(config, changes).policy
