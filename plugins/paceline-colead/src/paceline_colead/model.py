"""The data-driven synthesizer: a small causal model, trained on pairs of query and program.

Its tokens are words. In each example the literals are replaced by others of their type, in query and program alike, so
that few pairs teach it to copy them. Embeddings of words and APIs are one matrix, which is also the output layer.
Beside the next token, training asks of the embeddings alone that they explain which APIs a program has by single words
of its query, as IBM's Model 1 does (Brown and others, "The Mathematics of Statistical Machine Translation", 1993,
section 4.1):

    p(API | query) = mean over words w of the query, and of =>, of t(API | w),
    t(. | w) = softmax(12 cos(e_w, e_API)).

`=>` takes the place of Model 1's empty word: it explains what no word says. t is what is shared with the NLU-driven
side. That a part of the model is shared is the paper's; that it is this part, made in this way, is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from paceline import AllowedTokens
from paceline.hf import HfTarget
from paceline_colead.domain import Domain, Pair, normalised
from paceline_colead.draft import SEPARATOR

BATCH = 16
LEARNING_RATE = 3e-3
WARM_UP = 20
ALIGNMENT = 0.5
"""The weight of the alignment in the loss."""

SHARPNESS = 12.0
"""The factor on cosines: with it t can come near to 1 for an API, and to 0 for others."""

SPREAD = 0.05
"""The standard deviation of the first weights: from transformers' 0.02, copying takes far more steps to learn."""

MAX_CONTEXT = 128
UNKNOWN, END = "<unk>", "<end>"


def build_tokenizer(domain: Domain) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the words of a domain, those of all its stages."""
    words = [END, UNKNOWN, SEPARATOR, *domain.words]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, unk_token=UNKNOWN
    )


class DataSynthesizer:
    """A model that continues `query =>` with a program.

    Args:
        domain: Its words are the tokens.
        seed: Of the first weights and of the order of pairs.
        width: Of the embeddings.
        layers: How many.

    Attributes:
        model, tokenizer: As transformers knows them; `save` writes a folder that a run file may name.
        target: The model for a decoder of paceline.
    """

    def __init__(self, domain: Domain, *, seed: int = 0, width: int = 128, layers: int = 3) -> None:
        self.tokenizer = build_tokenizer(domain)
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=width,
            intermediate_size=round(8 * width / 3),
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_CONTEXT,
            initializer_range=SPREAD,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.eos_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = LlamaForCausalLM(config)
        self.model.eval()
        self._random = Random(seed)
        self._domain = domain
        self._apis = list(domain.file.apis)
        self._api_ids = torch.tensor(self.tokenizer.convert_tokens_to_ids(self._apis))
        self._seen: set[str] = set()
        self.target = HfTarget(self.model, self.tokenizer, name="data-driven synthesizer")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    def prompt(self, query: str) -> list[int]:
        """Return the tokens after which the program follows."""
        return self._ids(f"{' '.join(normalised(query))} {SEPARATOR}")

    def constraint(self, domain: Domain) -> AllowedTokens:
        """Return what lets only programs of a domain follow a query, with the literals that the query names.

        Where it names none of a type, all of that type may follow, so that there is always a program.
        """
        grammar, literals = domain.grammar, domain.file.literals
        end, convert = int(self.tokenizer.eos_token_id), self.tokenizer.convert_tokens_to_ids

        @lru_cache(maxsize=256)
        def named(query: tuple[str, ...]) -> dict[str, Mapping[str, object]]:
            there = domain.literals_in(" ".join(query))
            return {kind: there[kind] or values for kind, values in literals.items()}

        def allowed(tokens: Sequence[int]) -> list[int] | None:
            words = self.tokenizer.convert_ids_to_tokens(list(tokens))
            if SEPARATOR not in words:
                return None
            at = len(words) - 1 - words[::-1].index(SEPARATOR)
            program = words[at + 1 :]
            if END in program:
                return [end]
            following = grammar.following(program, named(tuple(words[:at])))
            return [convert(word) for word in following] or [end]

        return AllowedTokens(allowed)

    def train(
        self, *groups: Sequence[Pair], steps: int, report: Callable[[int, float], None] | None = None
    ) -> None:
        """Train on pairs, from the weights that are there.

        Args:
            groups: Pairs; each group has an even share of every batch, however few its pairs are.
            steps: Batches of `BATCH` pairs.
            report: Called after each step with its number and its loss.
        """
        groups = tuple(group for group in groups if group)
        self._seen |= {word for group in groups for pair in group for word in normalised(pair.query)}
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05, fused=True
        )
        self.model.train()
        for step in range(1, steps + 1):
            rate = min(step / WARM_UP, 0.5 * (1 + math.cos(math.pi * step / (steps + 1))) + 0.02)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            drawn = [self._random.choice(groups[row % len(groups)]) for row in range(BATCH)]
            loss = self._loss([self._example(self._domain.varied(pair, self._random)) for pair in drawn])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if report is not None:
                report(step, loss.item())
        self.model.eval()

    def learnt(self) -> dict[str, dict[str, float]]:
        """Return t(API | word) for every word of the queries seen: what is shared with the NLU-driven side."""
        words = sorted(self._seen)
        with torch.no_grad():
            probs = self._translation(torch.tensor(self.tokenizer.convert_tokens_to_ids(words))).tolist()
        return {word: dict(zip(self._apis, row, strict=True)) for word, row in zip(words, probs, strict=True)}

    def save(self, folder: Path) -> None:
        """Write model and tokenizer into a folder, as `backend: hf` reads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.convert_tokens_to_ids(text.split()))

    def _example(self, pair: Pair) -> tuple[list[int], list[int]]:
        return self.prompt(pair.query), [*self._ids(str(pair.program)), self.model.config.eos_token_id]

    def _loss(self, examples: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        length = max(len(query) + len(program) for query, program in examples)
        tokens = torch.zeros(len(examples), length, dtype=torch.long)
        labels = torch.full((len(examples), length), -100)
        for row, (query, program) in enumerate(examples):
            tokens[row, : len(query) + len(program)] = torch.tensor([*query, *program])
            labels[row, len(query) : len(query) + len(program)] = torch.tensor(program)
        logits = self.model(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        probs = self._translation(torch.arange(len(self.tokenizer)))
        return loss + ALIGNMENT * torch.stack([self._alignment(probs, *each) for each in examples]).mean()

    def _alignment(self, probs: Tensor, query: list[int], program: list[int]) -> Tensor:
        """Return -log p(API | query), averaged over the APIs of a program; `probs` holds t, a row a token."""
        present = torch.isin(self._api_ids, torch.tensor(program))
        return -probs[query].mean(dim=0)[present].log().mean()

    def _translation(self, words: Tensor) -> Tensor:
        """Return t(API | word), a row a word."""
        embeddings = F.normalize(self.model.get_input_embeddings().weight, dim=1)
        return torch.softmax(SHARPNESS * embeddings[words] @ embeddings[self._api_ids].T, dim=1)
