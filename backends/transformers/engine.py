"""transformers' own forward pass as an engine, and the facts that trying a model has shown.

A request alone is a batch of 1 without padding: positions follow from the length of the cache, and a mask is passed for
trees only. Several requests share a pass where the model says of each what it says of it alone; that is tried as well.

A fact holds as long as what it was read from. A model that is resized, moved, cast, or wrapped by an adapter is another
one in these respects, so it is tried again.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch

from paceline.backends.torch.host import (
    end_tokens,
    identity,
    keeps_logits,
    most_positions,
    release_named,
    takes_positions,
    text_config,
)
from paceline.backends.torch.logits import require_finite
from paceline.backends.torch.tree_mask import tree_block
from paceline.backends.transformers.checks import (
    require_agreement,
    require_decoder,
    require_rollback,
    rows_problem,
    tree_problem,
)
from paceline.backends.transformers.host.cache import (
    CACHE,
    cache_argument,
    cut,
    empty,
    keep_path,
    new_cache,
    shared_cache,
)
from paceline.backends.transformers.host.generation import switch_of
from paceline.backends.transformers.rows_layout import least_work
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel

    from paceline.backends.torch.engine import Cache, RopeSwitch
    from paceline.backends.transformers.rows_layout import Layout


NODES: Final = 64
"""The most nodes of a tree: as many as EAGLE-2 verifies at most, about. A mask has as many rows, caches grow anyhow."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model.

    Attributes:
        basis: What they were read from; see `basis_of`.
        device: Where tokens are fed and logits come out.
        vocabulary: The number of logits, padding included.
        cache_name: As what it takes its cache.
        keeps_logits: Whether it can be told how many logits to work out.
        takes_positions: Whether it can be told the positions of its tokens.
        switch: Where it turns positions otherwise, if it does.
        tree_problem: Why it reads chains alone; None where it reads trees.
        unshared: Why rows cannot share a pass; None where they can.
    """

    basis: tuple[object, ...]
    device: torch.device
    vocabulary: int
    cache_name: str
    keeps_logits: bool
    takes_positions: bool
    switch: RopeSwitch | None
    tree_problem: str | None = None
    unshared: str | None = None


def basis_of(model: Any) -> tuple[object, ...]:
    """Return what the facts about a model are read from, in a form that compares; keeps nothing of it alive."""
    ways = (model.forward, getattr(model, "prepare_inputs_for_generation", None))
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = (getattr(end, "weight", None) for end in ends)
    return (
        *(_weak(way) for way in ways),
        # Of a quantised layer, `weight` may be a method.
        *((w.shape, w.dtype, w.device) for w in weights if isinstance(w, torch.Tensor)),
    )


def _weak(way: Any) -> object:
    if way is None:
        return None
    return weakref.WeakMethod(way) if inspect.ismethod(way) else weakref.ref(way)


class TransformersEngine:
    """One loaded model, shared by all its sessions; holds no state of a request.

    What it must know of the model is found by trying it, and anew when a request begins on a model that was changed.

    Args:
        model: A decoder-only model of transformers; it is put into evaluation mode.
        name: What messages call it; its own `name_or_path` if None.
        facts: What an earlier engine found out about this model; tried anew where that does not hold any longer.

    Raises:
        BackendError: The model is no causal language model, its cache cannot be rolled back, or `generate` feeds it
            more than tokens and a cache.
    """

    backend = "hf"

    @release_named()
    def __init__(
        self, model: PreTrainedModel, *, name: str | None = None, facts: ModelFacts | None = None
    ) -> None:
        self.model = model
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        require_decoder(model, self.name)
        self.config: Any = text_config(model.config)
        # Dropout would make the output depend on how it is computed.
        model.eval()
        self._facts = facts if facts is not None else self._try(basis_of(model))

    @property
    def facts(self) -> ModelFacts:
        """Facts about the model as it is now."""
        basis = basis_of(self.model)
        if basis != self._facts.basis:
            self._facts = self._try(basis)
        return self._facts

    @property
    def device(self) -> torch.device:
        """Device where tokens are fed and logits come out."""
        return self._facts.device

    @property
    def vocabulary(self) -> int:
        """The number of logits, padding included."""
        return self.facts.vocabulary

    @property
    def switch(self) -> RopeSwitch | None:
        """Length past which the model turns positions otherwise, if it does."""
        return self._facts.switch

    @property
    def unshared(self) -> str | None:
        """The reason why requests cannot share a pass; None where they can."""
        return self._facts.unshared

    def _try(self, basis: tuple[object, ...]) -> ModelFacts:
        """Find out what can be done with the model, by doing it."""
        model: Any = self.model
        self._facts = ModelFacts(
            basis=basis,
            device=model.get_input_embeddings().weight.device,
            vocabulary=1,
            # A wrapper that names no cache hands on what it is given.
            cache_name=cache_argument(model.forward) or CACHE,
            keeps_logits=keeps_logits(model),
            takes_positions=takes_positions(model),
            switch=None,
        )
        try:
            logits = self.feed(self.new_cache(), [0])
            switch = switch_of(model, self.config)
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:
            raise BackendError(
                f"hf: {self.name} ({type(model).__name__}) cannot read a single token on {self.device} as "
                f"{model.dtype}: {problem!r}. Try another dtype, device or attention implementation; a model "
                "with a kind of cache of its own is not supported."
            ) from problem
        require_finite(logits, self)
        self._facts = replace(self._facts, vocabulary=int(logits.shape[-1]), switch=switch)
        require_rollback(self)
        require_agreement(self)
        self._facts = replace(self._facts, tree_problem=tree_problem(self), unshared=rows_problem(self))
        return self._facts

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device."""
        return identity(self.name, self.model, self.device)

    @property
    def max_context(self) -> int | None:
        """The longest sequence the model has positions for, or None when there is no limit."""
        limit, switch = most_positions(self.config), self.switch
        if switch is not None and switch.cache is None:
            return switch.length if limit is None else min(switch.length, limit)
        return limit

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text, from the generation configuration, else from the model's own."""
        return end_tokens(self.model, self.config)

    def new_cache(self) -> Cache:
        """Return an empty cache."""
        return new_cache(self.config)  # type: ignore[no-any-return]

    def go_back(self, cache: Cache, length: int) -> bool:
        """Take a cache back to its first `length` tokens; False where a window has let go of what is needed."""
        return cut(cache, length)

    def clear(self, cache: Cache) -> None:
        """Make a cache hold nothing, as a new one does."""
        empty(cache, self.new_cache())

    def free(self, cache: Cache) -> None:
        """Do nothing: the memory of a cache goes with it."""

    @torch.inference_mode()
    def feed(self, cache: Cache, tokens: Sequence[int] | torch.Tensor, rows: int = 1) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them.

        Args:
            cache: Grows by the tokens.
            tokens: Plain integers, or a device tensor of shape (1, tokens).
            rows: At least 1.

        Returns:
            Logits in the model's own precision, shape (rows, vocabulary).
        """
        device = self._facts.device
        ids = tokens if isinstance(tokens, torch.Tensor) else torch.tensor([tokens], device=device)
        options = {}
        if self._facts.takes_positions:
            # As `generate` does: there are models that would count otherwise by themselves.
            begin = cache.get_seq_length()
            options["position_ids"] = torch.arange(begin, begin + ids.shape[1], device=ids.device)[None]
        return self._pass(cache, ids, rows, options)

    @property
    def nodes(self) -> int:
        """The most nodes of a tree; 0 where `ModelFacts.tree_problem` says why."""
        return 0 if self.facts.tree_problem is not None else NODES

    @torch.inference_mode()
    def feed_tree(
        self, cache: Cache, tokens: Sequence[int], parents: Sequence[int], rows: int = 1
    ) -> torch.Tensor:
        """Append tokens to the cache, which then ends in a tree: see `TreeEngine`."""
        device = self._facts.device
        like = torch.empty(0, dtype=self.model.dtype, device=device)
        positions, mask = tree_block(cache.get_seq_length(), len(tokens), parents, like)
        options = {
            "position_ids": torch.tensor([positions], device=device),
            "attention_mask": mask[None, None],
        }
        return self._pass(cache, torch.tensor([tokens], device=device), rows, options)

    @torch.inference_mode()
    def keep_path(self, cache: Cache, base: int, path: Sequence[int]) -> None:
        """Gather the tokens to keep: see `TreeEngine`."""
        keep_path(cache, base, path)

    def _pass(
        self, cache: Cache, ids: torch.Tensor, rows: int, options: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Run the model's own forward pass; return the logits after the last `rows` tokens."""
        facts = self._facts
        given: dict[str, Any] = {facts.cache_name: cache, **options}
        if facts.keeps_logits:
            given["logits_to_keep"] = rows
        logits = self.model(input_ids=ids, use_cache=True, return_dict=True, **given).logits
        return logits[0, -rows:]  # type: ignore[no-any-return]

    def feed_batch(
        self,
        caches: Sequence[Cache],
        tokens: Sequence[int] | torch.Tensor,
        counts: Sequence[int],
        rows: Sequence[int],
    ) -> torch.Tensor:
        """Append tokens to several caches in one pass: see `BatchEngine`."""
        ids = tokens if isinstance(tokens, torch.Tensor) else torch.tensor(tokens, device=self._facts.device)
        width = self.model.get_input_embeddings().weight.shape[-1]
        filled = [cache.get_seq_length() for cache in caches]
        return self.feed_laid_out(caches, ids, least_work(filled, counts, width), rows)

    @torch.inference_mode()
    def feed_laid_out(
        self, caches: Sequence[Cache], ids: torch.Tensor, layout: Layout, rows: Sequence[int]
    ) -> torch.Tensor:
        """Do as `feed_batch`, with each row at its place."""
        facts = self._facts
        lanes, columns = layout.last_tokens(rows)
        options: dict[str, Any] = {facts.cache_name: shared_cache(caches, layout)}
        if facts.keeps_logits:
            kept = sorted(set(columns))
            options["logits_to_keep"] = torch.tensor(kept, device=ids.device)
            columns = [kept.index(column) for column in columns]
        try:
            logits = self.model(
                input_ids=layout.ids(ids),
                position_ids=layout.positions(ids.device),
                attention_mask=layout.mask(torch.empty(0, dtype=self.model.dtype, device=ids.device)),
                use_cache=True,
                return_dict=True,
                **options,
            ).logits
        except BaseException:
            # Some layers hold the tokens, others do not yet.
            for cache, place in zip(caches, layout.places, strict=True):
                cut(cache, place.filled)
            raise
        return logits[lanes, columns]  # type: ignore[no-any-return]
