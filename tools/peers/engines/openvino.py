"""OpenVINO GenAI as it is, and with its own prompt lookup."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.weights import FLOAT, HF, OPENVINO

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.protocol import Request

PLAIN, LOOKUP = "plain", "lookup"
PROPOSED, NGRAM = 5, 3
"""Tokens that prompt lookup proposes and matches, as in the samples of OpenVINO GenAI."""

WHOLE = 2**20
"""Tokens of a prompt that are read together, as its pipeline for one request has it by itself."""


def load(models: str, precision: str, threads: int) -> Callable[[Request], list[int]]:
    """Load a pipeline for each mode; 8 bit with the settings that it chooses by itself, float32 without rounding."""
    genai, openvino = import_module("openvino_genai"), import_module("openvino")
    numpy = import_module("numpy")
    file = str(Path(models) / OPENVINO[precision])
    end = json.loads((Path(models) / HF / "generation_config.json").read_text())["eos_token_id"]
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if precision == FLOAT:
        options |= {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    # By itself it remembers the prompts that it has read, and would read none twice: here several modes take each.
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.max_num_batched_tokens = WHOLE
    options["scheduler_config"] = scheduler
    pipelines = {
        PLAIN: genai.LLMPipeline(file, "CPU", **options),
        LOOKUP: genai.LLMPipeline(file, "CPU", prompt_lookup=True, **options),
    }

    def generate(request: Request) -> list[int]:
        config = genai.GenerationConfig()
        config.max_new_tokens = request.tokens
        config.set_eos_token_id(end)
        config.apply_chat_template = False
        if request.temperature:
            config.do_sample, config.temperature, config.rng_seed = True, request.temperature, request.seed
        if request.mode == LOOKUP:
            config.num_assistant_tokens, config.max_ngram_size = PROPOSED, NGRAM
        ids = openvino.Tensor(numpy.array([request.prompt], dtype=numpy.int64))
        tokens = [int(token) for token in pipelines[request.mode].generate(ids, config).tokens[0]]
        return tokens[:-1] if tokens and tokens[-1] == end else tokens

    return generate
