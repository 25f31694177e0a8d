"""A file of prompts in, a file of texts out: generation on `ray.data`, by actors that share what they learn."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from paceline import ConfigError, PacelineError, load_config
from paceline_ray import actor, needs
from paceline_ray.openai.writing import Writing
from paceline_ray.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Generator

    from paceline import Round, RunConfig

AT_ONCE = 8
"""Rows that an actor is given at a time."""

PROMPT = "prompt"


class Generate:
    """An actor class for `ray.data.Dataset.map_batches`: adds the text to each row that has a prompt.

    New columns: `text`, `ended`, `tokens`, `rounds`, `drafted`, `accepted`, and `error`, empty where all went well.

    Args:
        run: The run, as JSON-able values.
        sharing: Whether the actors share what they learn; needs a hub in the cluster.
        period_s: Seconds between two reports.
    """

    def __init__(self, run: Mapping[str, Any], *, sharing: bool = True, period_s: float = 1.0) -> None:
        name = f"batch-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        connect = actor.connect if sharing else None
        self._replica = Replica(load_config(run), model=name, name=name, connect=connect, period_s=period_s)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Generate a text for each prompt of a batch, and report what was learnt."""
        rows = [self._row(str(prompt)) for prompt in batch[PROMPT]]
        if self._replica.sync is not None:
            self._replica.sync.exchange()
        return {**batch, **{name: [row[name] for row in rows] for name in rows[0]}}

    def _row(self, prompt: str) -> dict[str, Any]:
        engine = self._replica.engine
        writing = Writing(engine.codec, (), 0)
        pieces: list[str] = []
        problem = ""
        try:
            with closing(cast("Generator[Round]", engine.decoder.rounds(prompt))) as rounds:
                engine.counts.begin()
                while True:
                    with engine.lock:
                        done = next(rounds, None)
                        if done is None:
                            break
                        engine.counts.add(done)
                    pieces.append(writing.add(done))
            pieces.append(writing.finish())
        except PacelineError as error:
            problem = str(error)
        return {
            "text": "".join(pieces),
            "ended": writing.ended or "",
            "tokens": writing.tokens,
            **writing.speculation(),
            "error": problem,
        }


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON objects, one a line, each with a `prompt`.

    Raises:
        ConfigError: A line is something else; the message names it.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get(PROMPT), str):
            raise ConfigError(f'{path}:{number}: expected an object such as {{"prompt": "Once upon a time"}}')
        rows.append(row)
    if not rows:
        raise ConfigError(
            f'{path}: no prompts; give one object a line, such as {{"prompt": "Once upon a time"}}'
        )
    return rows


def generate_rows(
    rows: Iterable[Mapping[str, Any]],
    config: RunConfig,
    *,
    replicas: int,
    sharing: bool,
    period_s: float = 1.0,
) -> list[dict[str, Any]]:
    """Return the rows with their texts, in the order they came in.

    Args:
        rows: Each with a `prompt`; whatever else they hold is handed through.
        config: The run, as `replica_run` gives it.
        replicas: How many actors decode.
        sharing: As for `Generate`.
        period_s: As for `Generate`.
    """
    needs.ray()
    import ray.data  # noqa: PLC0415

    given = [dict(row) for row in rows]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    items = [{"place": place, PROMPT: row[PROMPT]} for place, row in enumerate(given)]
    written = ray.data.from_items(
        items, override_num_blocks=max(replicas, len(items) // AT_ONCE)
    ).map_batches(
        Generate,
        fn_constructor_args=(config.model_dump(mode="json"),),
        fn_constructor_kwargs={"sharing": sharing, "period_s": period_s},
        batch_size=AT_ONCE,
        compute=ray.data.ActorPoolStrategy(size=replicas),
        num_cpus=1,
    )
    for found in written.iter_rows():
        row = given[found.pop("place")]
        row.update(found)
        if not row["error"]:
            del row["error"]
    return given


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write one JSON object a line; the file is there as a whole, or not at all."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    new.replace(path)
