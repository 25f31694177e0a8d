"""`adaptive`: the decoding loop in the place of transformers' own, as `generate(custom_generate=...)`.

`generate` prepares everything (processors, criteria, lengths, padding) and hands it over; see its `custom_generate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from transformers import StopStringCriteria

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.torch.loading import fitted
from paceline.backends.torch.tokenizers import require_same_vocabulary
from paceline.backends.transformers.batch import Batch, LearnedState
from paceline.backends.transformers.criteria import EndCriteria
from paceline.backends.transformers.engine_choice import EngineChoice, require_engine_name
from paceline.backends.transformers.models import HfDraft, HfTarget
from paceline.backends.transformers.processors import RowProcessors
from paceline.backends.transformers.request import read_request, require_repeatable
from paceline.core.config.load import load_config
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from paceline.backends.transformers.engine_choice import EngineName
    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Round


class Adaptive:
    """A decoding loop for `generate`; keeps, for each model, what its policy and its costs have learnt.

    Args:
        draft, drafts, policy, engine, tokenizer, assistant_tokenizer, stop_strings, streamer, seed, on_round: As in
            `adaptive`.

    Attributes:
        streamer: May be replaced between calls.
    """

    def __init__(
        self,
        draft: Any,
        *,
        drafts: Mapping[str, Any] | None,
        policy: str | Mapping[str, Any] | PolicyConfig | Policy,
        engine: EngineName,
        tokenizer: Any,
        stop_strings: str | Sequence[str] | None,
        assistant_tokenizer: Any,
        streamer: Any,
        seed: int | None,
        on_round: Callable[[int, Round], None] | None,
    ) -> None:
        self._drafts = _named(draft, drafts)
        self._tokenizer = tokenizer
        self._assistant_tokenizer = assistant_tokenizer
        self._policy: Any = policy
        if not hasattr(policy, "plan"):
            self._policy = load_config({"policy": policy}).policy
        require_engine_name(engine)
        self._engine: EngineName = engine
        self._stop = _stop_strings(tokenizer, stop_strings)
        if assistant_tokenizer is not None and tokenizer is None:
            raise BackendError(
                "hf: assistant_tokenizer needs the target's tokenizer beside it: adaptive(..., tokenizer=..., "
                "assistant_tokenizer=...)"
            )
        self._seed = seed
        self._on_round = on_round
        self._known: WeakKeyDictionary[Any, LearnedState] = WeakKeyDictionary()
        self.streamer = streamer

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        *,
        logits_processor: Iterable[Any],
        stopping_criteria: Iterable[Any],
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Any:
        """Continue a batch; called by `generate`, once a call.

        Returns:
            What `generate` returns: a tensor, or with `return_dict_in_generate` a `GenerateDecoderOnlyOutput`.

        Raises:
            BackendError: Something that was asked for cannot be honoured; nothing was decoded.
        """
        require_repeatable(model)
        with evaluating(*(each for each in self._drafts.values() if hasattr(each, "generate"))):
            target, learned = self._prepare(model)
            request = read_request(input_ids, generation_config, model_kwargs, target.engine.switch)
            if any(request.padding):
                learned.require_blind_to_padding(target)
            if self.streamer is not None and len(request.texts) > 1:
                raise BackendError(
                    "hf: a streamer takes one row; leave it out, or call generate for each row"
                )
            end_criteria = EndCriteria([*stopping_criteria, *self._stop])
            batch = Batch(
                target,
                EngineChoice(self._engine, target, request, end_criteria.max_length),
                learned,
                request,
                RowProcessors(logits_processor),
                end_criteria,
                self._seed,
            )
            if self.streamer is None:
                batch.decode(self._on_round)
            else:
                self._stream(batch, input_ids)
            return batch.output(input_ids)

    def _stream(self, batch: Batch, input_ids: torch.Tensor) -> None:
        streamer = self.streamer

        def show(row: int, done: Round) -> None:
            streamer.put(torch.tensor(done.tokens))
            if self._on_round is not None:
                self._on_round(row, done)

        streamer.put(input_ids.cpu())
        try:
            batch.decode(show)
        finally:
            streamer.end()

    def _prepare(self, model: Any) -> tuple[HfTarget, LearnedState]:
        """Return the model as a target, and what is known about it where that still holds."""
        known = self._known.get(model)
        target = HfTarget(model, self._tokenizer, facts=None if known is None else known.facts)
        if known is None or target.engine.facts != known.facts:
            drafts = {name: self._draft(name, source, target) for name, source in self._drafts.items()}
            known = self._known[model] = LearnedState(target, drafts, self._build_policy())
        return target, known

    def _draft(self, name: str, source: Any, target: HfTarget) -> Draft:
        if isinstance(source, str):
            return PromptLookup()
        if hasattr(source, "open"):
            return source  # type: ignore[no-any-return]
        tokenizer = self._assistant_tokenizer
        draft = HfDraft(source, tokenizer, vocabulary=target.vocabulary)
        if tokenizer is not None:
            return fitted(draft, target)
        require_same_vocabulary(name, draft, target)
        return draft

    def _build_policy(self) -> Policy:
        policy = self._policy
        return policy if hasattr(policy, "plan") else policy.build(self._seed or 0)  # type: ignore[no-any-return]


def adaptive(
    draft: Any,
    *,
    drafts: Mapping[str, Any] | None = None,
    policy: str | Mapping[str, Any] | PolicyConfig | Policy = "auto",
    engine: EngineName = "auto",
    tokenizer: Any = None,
    assistant_tokenizer: Any = None,
    stop_strings: str | Sequence[str] | None = None,
    streamer: Any = None,
    seed: int | None = None,
    on_round: Callable[[int, Round], None] | None = None,
) -> Adaptive:
    """Return a decoding loop for `model.generate(**inputs, custom_generate=adaptive(draft))`.

    The output is that of `generate` without it: the same tokens where they are chosen greedily, and distributed alike
    where they are drawn. Use one object for many calls: it goes on learning. `generate` hands neither `streamer` nor
    `tokenizer` nor `stop_strings` to a loop that is not its own, so they are given here.

    Args:
        draft: A model of transformers, with the target's tokenizer or with its own as `assistant_tokenizer`; "lookup"
            for prompt lookup; a draft of paceline; or several of these by name.
        drafts: More of them, by name; by default prompt lookup, called "lookup", beside a draft that is a model.
        policy: Decides which draft runs and how far: a name, a mapping as in a run file, a configuration or a policy.
        engine: What computes the target: "auto" is the faster graph engine for models and calls that it can run without
            anything being lost, once they have written some tokens, and else transformers' own forward pass;
            "hf" is the latter always; "graph" is the former from the first token on, or an error that says why not.
        tokenizer: The target's, needed for `stop_strings` and beside `assistant_tokenizer`.
        assistant_tokenizer: That of the drafts that are models, as in assisted generation. Where it is not the
            target's, their text is re-encoded.
        stop_strings: Texts that end a row, besides what `generate` is told.
        streamer: Is put the prompt, then the tokens of each round, then the end.
        seed: Of tokens that are drawn, the same in each call; None takes one from torch's generator each time, so that
            `torch.manual_seed` governs it.
        on_round: Is shown the row's number and each round as it ends.

    Raises:
        BackendError: A draft or an engine is nothing of the kind, or stop strings come without a tokenizer.
        ConfigError: There is no such policy, or not with these options.
    """
    return Adaptive(
        draft,
        drafts=drafts,
        policy=policy,
        engine=engine,
        tokenizer=tokenizer,
        assistant_tokenizer=assistant_tokenizer,
        stop_strings=stop_strings,
        streamer=streamer,
        seed=seed,
        on_round=on_round,
    )


def _named(draft: Any, drafts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the drafts by name."""
    if isinstance(draft, Mapping):
        by_name = {**draft, **(drafts or {})}
    else:
        name = "lookup" if isinstance(draft, str) and draft == "lookup" else "small"
        beside = {"lookup": "lookup"} if drafts is None else drafts
        by_name = {name: draft, **beside}
    for name, each in by_name.items():
        if each != "lookup" and not hasattr(each, "open") and not hasattr(each, "generate"):
            raise BackendError(
                f"hf: {each!r} cannot be the draft {name!r}; give a model of transformers, 'lookup', or a draft"
            )
    return by_name


def _stop_strings(tokenizer: Any, stop_strings: str | Sequence[str] | None) -> tuple[Any, ...]:
    if not stop_strings:
        return ()
    if tokenizer is None:
        raise BackendError(
            "hf: stop_strings need the target's tokenizer: adaptive(..., tokenizer=..., stop_strings=...)"
        )
    return (
        StopStringCriteria(tokenizer, stop_strings if isinstance(stop_strings, str) else [*stop_strings]),
    )


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Put models into evaluation mode, and each of their modules back into its own afterwards."""
    training = [module for model in models for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
