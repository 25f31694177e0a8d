"""Choice of what computes the drop-in's target: transformers' own forward pass, or the graph engine over its weights.

The graph engine verifies four tokens in the time of one, where transformers' forward takes half as long again. But it
reads the weights alone: whatever somebody has hung into the model's own forward pass would be lost. So each call looks
for that first, and each new copy of the weights must give the logits of the model's own pass.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from weakref import WeakKeyDictionary

import torch

from paceline.backends.graph.engine import GraphEngine
from paceline.backends.graph.shape import Shape, read_shape, shape_problem
from paceline.backends.torch.target import TargetModel
from paceline.backends.transformers.host.cache import append, contents
from paceline.backends.transformers.host.changes import Fingerprint, alteration, fingerprint
from paceline.core.environment import free_memory, gib
from paceline.core.errors import BackendError
from paceline.core.forking import ForkSafeLock
from paceline.core.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.backends.torch.engine import Cache, Engine
    from paceline.backends.transformers.engine import TransformersEngine
    from paceline.backends.transformers.models import HfTarget
    from paceline.backends.transformers.request import GenerateRequest


EngineName = Literal["auto", "hf", "graph"]

WARM_UP: Final = 128
"""Tokens that transformers' own forward pass writes before weights are packed. Packing takes as long as some 25 tokens
do, and what it saves makes up for that within 60 (where large pages help) to 200 (where they do not). So who stops
earlier has lost nothing by it, and who goes on has lost at most what it costs, once."""

LONGEST: Final = 2**15
"""The longest text that positions are worked out for, where the model has so many."""

PROBE: Final = (2, 3)
"""Lengths of the blocks in which logits are compared: the second one is read after the first, as in a verification."""


@dataclass(slots=True, eq=False)
class ModelRecord:
    """State of one model in this process, whichever drop-ins use it.

    Attributes:
        marks: The model as it was when the rest was found out.
        engine: The graph engine over its weights, once they are packed.
        problem: Why there is none and will be none, if that is known.
        written: Tokens that transformers' own forward pass wrote.
        reported: What was logged of the model.
    """

    marks: Fingerprint | None = None
    engine: GraphEngine | None = None
    problem: str | None = None
    written: int = 0
    reported: set[tuple[str, str | None]] = field(default_factory=set)

    def renew(self, marks: Fingerprint | None) -> None:
        """Forget what was found out, unless it was about the model as it is now; without marks, in any case."""
        if marks is None or self.marks is None or not self.marks.matches(marks):
            self.marks, self.engine, self.problem, self.written = marks, None, None, 0


# Packed weights are as large as the model, so drop-ins share them; they are let go with the model, or when it changes.
_records: WeakKeyDictionary[Any, ModelRecord] = WeakKeyDictionary()
_lock = ForkSafeLock()


class EngineChoice:
    """Choice of what decodes one call of the drop-in; asked anew whenever that may have come to pay.

    Args:
        name: "auto" for the faster engine wherever it gives what `generate` gives; "hf" for transformers' own forward
            pass always; "graph" for the graph engine from the first token on, or an error.
        own: The target, computed by transformers.
        request: What `generate` asks for.
        longest: The most tokens that a row may have, its prompt included.
    """

    def __init__(self, name: EngineName, own: HfTarget, request: GenerateRequest, longest: int) -> None:
        self._name = name
        self._own = own
        self._model: Any = own.engine.model
        self._problem = None if name == "hf" else _unfit(own) or _unfit_for(request, own, longest)
        # A text that is drawn must not depend on what was written before, and one without a cache is read anew.
        self._changes_midway = request.cache is not None and not request.sampled

    def target(self) -> TargetModel:
        """Return what decodes the next tokens.

        Raises:
            BackendError: The graph engine is required, and cannot be used.
        """
        if self._name == "hf":
            return self._own
        with _lock:
            record = _records.setdefault(self._model, ModelRecord())
            outcome = self._problem or self._graph(record)
            if outcome is None:
                return self._own
            engine = outcome if isinstance(outcome, GraphEngine) else None
            problem = outcome if isinstance(outcome, str) else None
            if self._name == "graph" and problem is not None:
                raise BackendError(
                    f"hf: custom_generate=adaptive(..., engine='graph'): {problem}; leave `engine` out to decode by "
                    "transformers' own forward pass"
                )
            chosen = ("hf" if engine is None else "graph", problem)
            if chosen not in record.reported:
                record.reported.add(chosen)
                log.info("engine_chosen", model=self._own.engine.name, engine=chosen[0], reason=problem)
        return self._own if engine is None else TargetModel(engine)

    def most(self, target: TargetModel) -> int | None:
        """Return after how many tokens of a target it is worth asking for another; None for never."""
        record = _records.get(self._model)
        if (
            target is not self._own
            or self._name != "auto"
            or not self._changes_midway
            or self._problem is not None
        ):
            return None
        if record is None or record.marks is None or record.problem is not None or record.written >= WARM_UP:
            return None
        return WARM_UP - record.written

    def wrote(self, target: TargetModel, tokens: int) -> None:
        """Note how many tokens a target wrote."""
        record = _records.get(self._model)
        if target is self._own and record is not None:
            record.written += tokens

    def _graph(self, record: ModelRecord) -> GraphEngine | str | None:
        """Return the engine, or why it cannot be used, or None while it would not pay."""
        problem = alteration(self._model)
        record.renew(None if problem else fingerprint(self._model))
        if problem is not None or record.engine is not None or record.problem is not None:
            return problem or record.engine or record.problem
        if self._name == "auto" and record.written < WARM_UP:
            return None
        problem = _lack_of_memory(self._model)
        if problem is not None:
            return problem
        try:
            record.engine = _packed(self._own.engine)
        except Exception as error:  # noqa: BLE001 - a model that was taken apart may fail anywhere
            record.problem = str(error) if isinstance(error, BackendError) else repr(error)
        return record.engine or record.problem


def require_engine_name(name: str) -> None:
    """Refuse a name of no engine.

    Raises:
        BackendError: Says which there are.
    """
    if name not in get_args(EngineName):
        names = ", ".join(map(repr, get_args(EngineName)))
        raise BackendError(f"hf: engine={name!r} is not one of {names}; leave it out for 'auto'")


def _unfit(own: HfTarget) -> str | None:
    """Say why the graph engine cannot run a model, or would not be faster; None where it can."""
    model: Any = own.engine.model
    problem = shape_problem(model.config)
    if problem is not None:
        return f"{own.engine.name} {problem}"
    kinds = {(weight.dtype, weight.device) for weight in model.parameters()}
    if len(kinds) > 1:
        return "its weights are not of one number format on one device"
    if own.engine.device.type != "cpu":
        return f"it is on {own.engine.device}, and packed weights are faster on a CPU alone"
    return None


def _unfit_for(request: GenerateRequest, own: HfTarget, longest: int) -> str | None:
    """Say why the graph engine cannot decode a request; None where it can."""
    if request.kept:
        return "scores or logits are asked for, and those of transformers' own pass are meant"
    context = _context(read_shape(own.engine.model.config, own.engine.name))
    if longest > context:
        return f"a text may get longer than the {context} tokens that the graph engine is set up for"
    if request.cache is not None and contents(request.cache) is None:
        return "the cache that was given has let go of tokens that have left its window"
    return None


def _context(shape: Shape) -> int:
    return min(shape.positions, LONGEST, LONGEST if shape.window is None else shape.window)


def _lack_of_memory(model: Any) -> str | None:
    """Say that a second copy of the matrices does not fit; None where it does."""
    needed = sum(weight.nbytes for weight in model.parameters() if weight.dim() > 1)
    free = free_memory("cpu")
    if free is None or 2 * needed <= free:
        return None
    return (
        f"a second copy of its matrices would take {gib(needed)}, more than half of the memory that is free"
    )


def _packed(own: TransformersEngine) -> GraphEngine:
    """Return the graph engine over the weights of a model.

    Raises:
        BackendError: Its logits are not those of the model's own forward pass.
    """
    context = _context(read_shape(own.model.config, own.name))
    engine = GraphEngine(own.model, name=own.name, max_context=context)
    if not _same_logits(own, engine):
        raise BackendError("the graph engine gives other logits than the model's own forward pass")
    return engine


def _same_logits(own: Engine, other: Engine) -> bool:
    """Tell whether two engines give the same logits, up to rounding, in blocks of several lengths."""
    caches = own.new_cache(), other.new_cache()
    text = [token * 7919 % own.vocabulary for token in range(1, sum(PROBE) + 1)]
    try:
        for length in PROBE:
            block, text = text[:length], text[length:]
            expected, logits = own.feed(caches[0], block, length), other.feed(caches[1], block, length)
            # Rounding adds up over the layers to about the root of the relative error of a single number.
            most = torch.finfo(expected.dtype).eps ** 0.5 * float(expected.abs().max())
            if not bool(((expected - logits).abs() <= most).all()):
                return False
    finally:
        own.free(caches[0])
        other.free(caches[1])
    return True


@contextmanager
def cache_for(target: TargetModel, given: Any, tokens: int) -> Iterator[Cache | None]:
    """Lend a cache that a row of so many tokens can be decoded with, and that goes on from a given one.

    On the graph engine it is another one, of which the given one gets what is new when all has gone well.

    Args:
        target: What decodes the row.
        given: A cache of transformers, if one was given.
        tokens: The most that the row may have.
    """
    engine = target.engine
    if not isinstance(engine, GraphEngine):
        yield given
        return
    cache = engine.cache_of(tokens)
    if given is not None:
        for layer, pair in zip(cache.layers, contents(given) or (), strict=False):
            layer[:, :, : pair[0].shape[-2]] = torch.cat(pair)
        cache.filled = int(given.get_seq_length())
    before = cache.filled
    yield cache
    if given is not None:
        new = (layer[:, None, :, before : cache.filled] for layer in cache.layers)
        append(given, ((keys, values) for keys, values in new))
