"""Measure a pair: held-out loss, loops in greedy text, and how often the drafts agree with the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from .corpus import KINDS, Document, encode, find_documents

LENGTH = 512
LOOP_TAIL, LOOP_PERIOD = 64, 32
REPEATS = 0.25  # of the runs of eight tokens: a reader sees that the text goes round


def loops(tokens: Sequence[int], tail: int = LOOP_TAIL, period: int = LOOP_PERIOD) -> bool:
    """Return whether the last `tail` tokens repeat with some period of at most `period` tokens."""
    end = list(tokens)[-tail:]
    if len(end) < tail:
        return False
    return any(end[p:] == end[:-p] for p in range(1, period + 1))


def repetition(tokens: Sequence[int], size: int = 8) -> float:
    """Return the share of the runs of `size` tokens that have occurred before in the same text."""
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def pieces(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[Document], limit: int, length: int = LENGTH
) -> Tensor | None:
    """Return at most `limit` blocks of the documents' tokens, evenly spread, or None where there are too few."""
    tokens = encode(tokenizer, documents).astype(np.int64)
    count = len(tokens) // length
    if not count:
        return None
    rows = torch.from_numpy(tokens[: count * length]).view(count, length)
    return rows[torch.linspace(0, count - 1, min(limit, count)).long()]


@torch.no_grad()
def text_measures(
    models: Mapping[str, LlamaForCausalLM], rows: Tensor, at_once: int = 4
) -> dict[str, dict[str, float]]:
    """Return, for each model, its loss on the text and its agreement with the model named target.

    `agreement` is the share of positions with the same most likely token,
    `overlap` the mean of sum(min(p, q)): the probability that a sampled token of
    the draft is accepted at temperature 1.
    """
    sums: dict[str, dict[str, float]] = {name: {} for name in models}
    for part in torch.split(rows, at_once):
        target = models["target"](input_ids=part, use_cache=False).logits[:, :-1].float()
        target_probs = target.softmax(-1)
        for name, model in models.items():
            logits = (
                target if name == "target" else model(input_ids=part, use_cache=False).logits[:, :-1].float()
            )
            batch = {"loss": F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")}
            if name != "target":
                batch["agreement"] = (logits.argmax(-1) == target.argmax(-1)).sum()
                batch["overlap"] = torch.minimum(logits.softmax(-1), target_probs).sum()
            for key, value in batch.items():
                sums[name][key] = sums[name].get(key, 0.0) + value.item()
    positions = rows.shape[0] * (rows.shape[1] - 1)
    return {name: {k: round(v / positions, 4) for k, v in total.items()} for name, total in sums.items()}


def by_kind(
    models: Mapping[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[Document],
    limit: int = 12,
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the measures on text for every kind, and for all documents together under `all`."""
    results = {}
    for kind in (*KINDS, "all"):
        chosen = [d for d in documents if kind in (d.kind, "all")]
        rows = pieces(tokenizer, chosen, limit * 4 if kind == "all" else limit)
        if rows is not None:
            results[kind] = text_measures(models, rows)
    return results


@torch.no_grad()
def greedy_measures(
    models: Mapping[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Mapping[str, str]],
    new: int = 192,
) -> dict[str, dict[str, float]]:
    """Return, for each kind of prompt, loops and repetition of greedy text and the drafts' agreement along it."""
    measures: dict[str, dict[str, list[float]]] = {}
    for prompt in prompts:
        ids = tokenizer(prompt["text"], return_tensors="pt")["input_ids"]
        # The end token is forbidden so that every text has the same length.
        out = models["target"].generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False
        )
        text = out[0, ids.shape[1] :]
        again = repetition(text.tolist())
        values = {
            "loop": float(loops(text.tolist())),
            "repeats": float(again >= REPEATS),
            "repetition": again,
        }
        for name, model in models.items():
            if name != "target":
                guess = model(input_ids=out, use_cache=False).logits[0, ids.shape[1] - 1 : -1].argmax(-1)
                values[f"{name} agreement"] = (guess == text).float().mean().item()
        for kind in (prompt["kind"], "all"):
            for key, value in values.items():
                measures.setdefault(kind, {}).setdefault(key, []).append(value)
    return {k: {key: round(float(np.mean(v)), 4) for key, v in f.items()} for k, f in measures.items()}


def fresh_documents(newer: Path, known: Sequence[Document], least_new: float = 0.7) -> list[Document]:
    """Return documents of a newer standard library that a model of the known ones cannot have seen.

    They have no namesake among the known documents, and at least `least_new`
    of their lines of more than 20 characters do not occur in those.
    """
    names = {d.name for d in known}
    lines = {line.strip() for d in known for line in d.text.splitlines()}
    chosen = []
    for document in find_documents(stdlib=newer, capped=False):
        if document.name in names or document.kind not in ("code", "tests"):
            continue
        own = [line.strip() for line in document.text.splitlines() if len(line.strip()) > 20]
        if own and sum(line not in lines for line in own) >= least_new * len(own):
            chosen.append(document)
    return chosen
