"""Generation on `ray.data`: prompts in, texts out, by actors that share what they learn."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paceline import PacelineError, Tally, load_config
from paceline_ray import actor
from paceline_ray.batch_files import PROMPT
from paceline_ray.replica import Replica

if TYPE_CHECKING:
    from paceline import RunConfig

MAX_ACTIVE = 8
"""The most rows that an actor is given at a time."""
MOST_BLOCKS = 512


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
        self._replica = Replica(load_config(run), name=name, connect=connect, period_s=period_s)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Generate a text for each prompt of a batch, and report what was learnt."""
        rows = [self._row(str(prompt)) for prompt in batch[PROMPT]]
        if self._replica.sync is not None:
            self._replica.sync.exchange()
        return {**batch, **{name: [row[name] for row in rows] for name in rows[0]}}

    def _row(self, prompt: str) -> dict[str, Any]:
        tally, pieces, problem = Tally(), list[str](), ""
        decoder = self._replica.decoder
        try:
            text = decoder.text_stream()
            for done in decoder.rounds(prompt, tally=tally):
                pieces.append(text.push(done.tokens))
            pieces.append(text.finish())
        except PacelineError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - one row's trouble is not that of the others
            problem = f"{type(error).__name__}: {error}"
        totals = tally.totals()
        return {
            "text": "".join(pieces),
            "ended": tally.ended or "",
            "tokens": totals.emitted,
            "rounds": totals.rounds,
            "drafted": totals.drafted,
            "accepted": totals.accepted,
            "error": problem,
        }


def generate_rows(
    rows: Sequence[tuple[int, str]],
    config: RunConfig,
    *,
    replicas: int,
    sharing: bool,
    period_s: float = 1.0,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the places of prompts with what `Generate` adds to them, as they are done.

    Args:
        rows: Places and prompts.
        config: The run, as `replica_run` gives it.
        replicas: How many actors decode.
        sharing: As for `Generate`.
        period_s: As for `Generate`.
    """
    data = actor.ray("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    items = [{"place": place, PROMPT: prompt} for place, prompt in rows]
    # What a block holds comes back together: few rows, but not so few that a large file is nothing but blocks.
    size = min(max(len(items) // MOST_BLOCKS, 1), MAX_ACTIVE)
    blocks = max(len(items) // size, 1)
    answers = data.from_items(items, override_num_blocks=blocks).map_batches(
        Generate,
        fn_constructor_args=(config.model_dump(mode="json"),),
        fn_constructor_kwargs={"sharing": sharing, "period_s": period_s},
        batch_size=size,
        compute=data.ActorPoolStrategy(size=replicas),
        num_cpus=1,
    )
    for answer in answers.iter_rows():
        answer.pop(PROMPT)
        yield answer.pop("place"), answer
