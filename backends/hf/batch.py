"""A batch of `generate`, decoded row by row: each row has its own rounds, its own gammas and its own end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.hf.host.generation import decoder_output, pad_token
from paceline.backends.hf.record import Record
from paceline.backends.hf.row import Row, RowDraft, RowTarget
from paceline.core.costs import LiveCosts
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.sampling.settings import GREEDY, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline.backends.hf.criteria import Endings
    from paceline.backends.hf.processors import Rules
    from paceline.backends.hf.request import GenerateRequest
    from paceline.backends.hf.target import HfTarget
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Round


class Pair:
    """A target, its drafts, and what has been learnt about them."""

    def __init__(self, target: HfTarget, drafts: Mapping[str, Draft], policy: Policy) -> None:
        self.target = target
        self.drafts = drafts
        self.policy = policy
        self.costs = LiveCosts()

    def decoder(self, row: Row, eos: frozenset[int]) -> SpeculativeDecoder:
        """Return the loop for one row."""
        drafts = {
            name: RowDraft(name, draft, row, self.target.vocabulary) for name, draft in self.drafts.items()
        }
        target = RowTarget(self.target, row, eos)
        return SpeculativeDecoder(target, drafts, self.policy, costs=self.costs, eos=eos)


class Batch:
    """The rows of one call, decoded one after the other."""

    def __init__(
        self,
        pair: Pair,
        request: GenerateRequest,
        rules: Rules,
        endings: Endings,
        config: Any,
        seed: int | None,
        device: torch.device,
    ) -> None:
        self._pair = pair
        self._request = request
        self._endings = endings
        self._config = config
        wanted = {
            kind: bool(config.return_dict_in_generate and getattr(config, f"output_{kind}"))
            for kind in ("scores", "logits")
        }
        rows = len(request.texts)
        sampling = _sampling(seed) if request.sampled else GREEDY
        # Everything that can be refused is refused here, before any row is decoded.
        self._rows = [
            Row(
                padding=text[:padding],
                rules=rules.for_row(index, rows),
                sampling=sampling.of(f"row {index}"),
                device=device,
                record=Record(**wanted) if any(wanted.values()) else None,
                cache=request.cache,
            )
            for index, (text, padding) in enumerate(zip(request.texts, request.padding, strict=True))
        ]
        self._stops = [
            endings.for_row(text, rows, device, row.record)
            for text, row in zip(request.texts, self._rows, strict=True)
        ]

    def decode(self, on_round: Callable[[int, Round], None] | None) -> list[list[int]]:
        """Return the new tokens of each row."""
        width = len(self._request.texts[0])
        most = max(1, self._endings.max_length - width)
        outputs: list[list[int]] = [[] for _ in self._rows]
        for index in range(len(self._rows)):
            self._continue(index, outputs[index], most, self._endings.eos, self._stops[index], on_round)
        longest = max(map(len, outputs))
        if not self._endings.padded:
            # As in `generate`: without an end-of-sequence token, rows go on until the last one has ended.
            for index, output in enumerate(outputs):
                if len(output) < longest:
                    self._continue(index, output, longest - len(output), frozenset(), (), on_round)
        return outputs

    def _continue(
        self,
        index: int,
        output: list[int],
        most: int,
        eos: frozenset[int],
        stop: tuple[Callable[[Sequence[int]], bool], ...],
        on_round: Callable[[int, Round], None] | None,
    ) -> None:
        row = self._rows[index]
        prompt = [*self._request.texts[index][len(row.padding) :], *output]
        decoder = self._pair.decoder(row, eos)
        try:
            for done in decoder.rounds(prompt, max_new_tokens=most, stop=stop):
                output.extend(done.tokens)
                if on_round is not None:
                    on_round(index, done)
        except BackendError as error:
            # What the caller's own processors raise leaves `generate` as it is.
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def output(self, outputs: list[list[int]], input_ids: torch.Tensor) -> Any:
        """Return what `generate` returns."""
        longest = max(map(len, outputs))
        filler = pad_token(self._config)
        filled = [output + [filler] * (longest - len(output)) for output in outputs]
        new = torch.tensor(filled, dtype=input_ids.dtype, device=input_ids.device)
        sequences = torch.cat([input_ids, new], dim=1)
        if not self._config.return_dict_in_generate:
            return sequences
        return decoder_output(
            sequences=sequences,
            scores=self._stacked("scores", longest),
            logits=self._stacked("logits", longest),
            cache=self._request.cache,
        )

    def _stacked(self, kind: str, longest: int) -> tuple[torch.Tensor, ...] | None:
        """Return one tensor a step, shape (rows, vocabulary); 0 where a row has ended."""
        if not getattr(self._config, f"output_{kind}"):
            return None
        kept = [getattr(row.record, kind) for row in self._rows]
        return tuple(
            torch.cat([rows[step] if step < len(rows) else torch.zeros_like(rows[0]) for rows in kept])
            for step in range(longest)
        )


def _sampling(seed: int | None) -> Sampling:
    return Sampling(seed=int(torch.randint(2**62, ())) if seed is None else seed)
