"""Grammars and logits processors of llama.cpp for `Sampling.processors`, applied at each drafted place."""

from __future__ import annotations

import ctypes
import weakref
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline import AllowedTokens, BackendError
from paceline_llamacpp.library import BACKEND, library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from paceline import LogitsProcessor
    from paceline_llamacpp.model import GgufModel
    from paceline_llamacpp.target import LlamaCppTarget

STEPS_BACK = 64
"""States of a grammar that are kept, one a token: a round goes back by less, and a longer way is gone anew."""

CANDIDATE = np.dtype([("token", np.int32), ("logit", np.float32), ("prob", np.float32)])
"""An element of llama.h's `llama_token_data`."""


def grammar_processor(
    target: LlamaCppTarget, grammar: object, *, prompt_tokens: int, root: str = "root"
) -> AllowedTokens:
    """Return the processor that lets a request write by a grammar alone, and end where that is complete.

    Args:
        target: The model, whose tokens are judged by their text.
        grammar: Text in GBNF, or a `LlamaGrammar` of llama-cpp-python, which also makes one of a JSON schema.
        prompt_tokens: The length of the request's prompt; what follows is written by the grammar.
        root: The rule to begin with.

    Raises:
        BackendError: llama.cpp refuses the grammar, or the model's tokens have no text.
    """
    text = grammar if isinstance(grammar, str) else str(getattr(grammar, "_grammar", grammar))
    states = _GrammarStates(target.engine.model, text, root)
    return AllowedTokens(lambda tokens: states.allowed(tokens[prompt_tokens:]))


class _GrammarStates:
    """A grammar after each of the latest tokens of a text. What was kept makes answers faster, and no other."""

    def __init__(self, model: GgufModel, grammar: str, root: str) -> None:
        if not model.has_text:
            raise BackendError(
                f"{BACKEND}: the tokens of {model.name} have no text that a grammar could judge"
            )
        self._api, self._vocabulary = model.api, model.vocabulary
        library().complaints()
        first = grammar.strip() and self._api.llama_sampler_init_grammar(
            model.vocab, grammar.encode(), root.encode()
        )
        if not first:
            reason = library().complaints() or "it is empty, or has no such root"
            raise BackendError(f"{BACKEND}: llama.cpp refuses the grammar with the root {root!r}: {reason}")
        self._text: list[int] = []
        self._states: dict[int, Any] = {0: first}
        weakref.finalize(self, _free, self._api, self._states, model)

    def allowed(self, text: Sequence[int]) -> list[int] | None:
        """Return the tokens that may follow; None after a text that the grammar does not write."""
        state = self._after(text)
        if state is None:
            return None
        tokens = self._judged(state, np.arange(self._vocabulary, dtype=np.int32))
        return tokens.tolist()  # type: ignore[no-any-return]

    def _after(self, text: Sequence[int]) -> Any:
        api, states = self._api, self._states
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._text, text, strict=False)))
        for place in [place for place in states if place > same]:
            api.llama_sampler_free(states.pop(place))
        self._text = list(text)
        for place in range(max(states), len(text)):
            # llama.cpp ends the process where it is told of a token that the grammar does not allow.
            if not len(self._judged(states[place], np.array([text[place]], np.int32))):
                return None
            states[place + 1] = api.llama_sampler_clone(states[place])
            api.llama_sampler_accept(states[place + 1], text[place])
            if (old := place + 1 - STEPS_BACK) > 0 and old in states:
                api.llama_sampler_free(states.pop(old))
        return states[len(text)]

    def _judged(self, state: Any, tokens: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return those of the tokens that may follow."""
        candidates = np.zeros(len(tokens), CANDIDATE)
        candidates["token"] = tokens
        data = ctypes.cast(candidates.ctypes.data, self._api.llama_token_data_p)
        row = self._api.llama_token_data_array(data, len(tokens), -1, False)
        self._api.llama_sampler_apply(state, ctypes.byref(row))
        allowed: NDArray[np.int32] = candidates["token"][np.isfinite(candidates["logit"])]
        return allowed


def _free(api: Any, states: dict[int, Any], model: GgufModel) -> None:
    """Free the states of a grammar, before the model whose vocabulary they read."""
    del model
    for state in states.values():
        api.llama_sampler_free(state)


def adapted(processor: Callable[[Any, Any], Any]) -> LogitsProcessor:
    """Return a processor of llama-cpp-python, or a `LogitsProcessorList`, as one of `Sampling.processors`.

    It must be a function of its arguments, the tokens and their scores as arrays; for rows of other engines they are
    made into arrays and back.
    """

    def process(tokens: Sequence[int], logits: Any) -> Any:
        scores = processor(np.array(tokens, np.intc), np.array(logits, np.single))
        if isinstance(logits, list):
            return np.asarray(scores).tolist()
        return scores.astype(logits.dtype) if isinstance(logits, np.ndarray) else logits.new_tensor(scores)

    return process
