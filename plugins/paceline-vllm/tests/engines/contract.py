"""One of the plugin's classes around vLLM's own scheduler, in a process of its own, with outputs that no model made.

Run as `python contract.py CLASS ANSWER.json`. The asynchronous class is driven as vLLM does it: the next step is
scheduled before the last one is over.
"""

import json
import os
import sys
import tempfile
from collections import deque
from pathlib import Path

os.environ.update(
    VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR"
)

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch  # vLLM reads the environment when it is imported
from case import offer_policies
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

import paceline_vllm
from paceline import PacelineError, read_trace

WEIGHTS = Path(__file__).resolve().parents[4] / "backends" / "embedded" / "weights"
MOST, WANTED, PROMPT = 4, 30, 6


def configuration(block, *, table=True, speculative=True):
    drafting = {
        "method": "ngram",
        "prompt_lookup_max": 3,
        "prompt_lookup_min": 1,
        "num_speculative_tokens": MOST,
    }
    if table:
        drafting["num_speculative_tokens_per_batch_size"] = [[1, 4, MOST]]
    config = EngineArgs(
        model=str(WEIGHTS / "target"),
        dtype="float32",
        max_model_len=256,
        max_num_seqs=4,
        enforce_eager=True,
        speculative_config=drafting if speculative else None,
        additional_config={"paceline": block},
    ).create_engine_config()
    config.cache_config.num_gpu_blocks = 64
    return config


def scheduler(kind, config):
    spec = FullAttentionSpec(
        block_size=config.cache_config.block_size, num_kv_heads=1, head_size=64, dtype=torch.float32
    )
    cache = KVCacheConfig(
        num_blocks=64, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
    )
    return kind(
        vllm_config=config,
        kv_cache_config=cache,
        structured_output_manager=StructuredOutputManager(config),
        block_size=config.cache_config.block_size,
        log_stats=True,
    )


def sampled(request, output, step):
    """Accept some of the drafts; nothing while the prompt is read."""
    drafted = len(output.scheduled_spec_decode_tokens.get(request.request_id, ()))
    accepted = min(drafted, step % 3)
    return [1000 + step] * (accepted + 1)


def drive(served, request, *, ahead):
    asked, verified, waiting, step = [], [], deque(), 0
    served.add_request(request)
    while (served.requests or waiting) and step < 100:
        output = served.schedule()
        if output.total_num_scheduled_tokens:
            asked.append(output.num_spec_tokens_to_schedule)
            verified.append(len(output.scheduled_spec_decode_tokens.get(request.request_id, ())))
            waiting.append(output)
        if len(waiting) > ahead or not output.total_num_scheduled_tokens:
            done = waiting.popleft()
            result = ModelRunnerOutput(
                req_ids=[request.request_id],
                req_id_to_index={request.request_id: 0},
                sampled_token_ids=[sampled(request, done, step)],
            )
            served.update_from_output(done, result)
            if not ahead:
                drafts = [[7] * done.num_spec_tokens_to_schedule]
                served.update_draft_token_ids(DraftTokenIds([request.request_id], drafts))
        step += 1
    return asked, verified


def refusal(kind, config):
    try:
        scheduler(kind, config)
    except PacelineError as error:
        return str(error)
    return "nothing was refused"


def main(name, folder):
    kind = getattr(paceline_vllm, name)
    trace = folder / "rounds.jsonl"
    served = scheduler(kind, configuration({"policy": "trial-script", "trace": str(trace)}))
    sampling = SamplingParams(max_tokens=WANTED, temperature=0.0, ignore_eos=True)
    request = Request("one", list(range(10, 10 + PROMPT)), sampling, None)
    asked, verified = drive(served, request, ahead=served._paceline_delay - 1)
    left = len(served._paceline_steps)
    served.shutdown()
    (traced,) = read_trace(trace).requests
    rounds = [done for done in traced.rounds if done.plan.reason != "prefill"]
    idle = scheduler(kind, configuration({"policy": "static"}, table=False))._paceline_setup
    idle.close()
    return {
        "asked": asked,
        "verified": verified,
        "delay": served._paceline_delay,
        "rounds": [(done.plan.gamma, done.drafted, done.accepted, done.emitted) for done in rounds],
        "ended": traced.ended,
        "tokens": sum(done.emitted for done in traced.rounds),
        "wanted": WANTED,
        "left": left,
        "without_table": idle.fixed_plan.gamma,
        "refused": {
            "draft": refusal(kind, configuration({"policy": "static"}, speculative=False)),
        },
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        offer_policies(Path(made))
        Path(sys.argv[2]).write_text(json.dumps(main(sys.argv[1], Path(made))), encoding="utf-8")
