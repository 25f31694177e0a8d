"""One vLLM engine in a process of its own: decodes prompts under several policies, one after the other.

Run as `python case.py REQUEST.json ANSWER.json`; the tests beside it write the one and read the other.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_NO_USAGE_STATS="1",
    HF_HUB_OFFLINE="1",
    VLLM_LOGGING_LEVEL="WARNING",
)


def offer_policies(folder: Path) -> None:
    """Install the policies of `trial_policies.py` for this process only."""
    info = folder / "paceline_trial-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: paceline-trial\nVersion: 0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text("[paceline]\ntrial = trial_policies\n", encoding="utf-8")
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]


def watched(adapter):
    """Note every plan and every round of an adapter, in order."""
    plans, rounds = [], []
    plan, observe = adapter.plan, adapter.observe

    def planned(step):
        plans.append(plan(step))
        return plans[-1]

    def observed(step, parts):
        rounds.append(
            [
                (
                    part.active.request.request_id,
                    part.plan.gamma,
                    part.drafted,
                    part.accepted,
                    part.plan.reason,
                )
                for part in parts
            ]
        )
        observe(step, parts)

    adapter.plan, adapter.observe = planned, observed
    return plans, rounds


def main(asked, answer):
    from vllm import LLM, SamplingParams, TokensPrompt

    speculative = asked["speculative"]
    options = {}
    if speculative is not None:
        first = next(iter(asked["policies"].values()))
        options = {
            "speculative_config": speculative,
            "scheduler_cls": asked.get("scheduler", "paceline_vllm.PolicyScheduler"),
            "additional_config": {"paceline": first},
            "per_request_spec_decode_metrics": "detailed",
        }
    llm = LLM(
        model=asked["target"],
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=8,
        seed=0,
        disable_log_stats=False,
        **options,
    )
    prompts = [TokensPrompt(prompt_token_ids=prompt) for prompt in asked["prompts"]]
    sampling = SamplingParams(temperature=0.0, max_tokens=asked["max_tokens"], ignore_eos=asked["ignore_eos"])

    def decode(some):
        outputs = llm.generate(some, sampling, use_tqdm=False)
        tokens = [list(one.outputs[0].token_ids) for one in outputs]
        found = [
            getattr(one.outputs[0], "spec_decode_metrics", None) or getattr(one, "spec_decode_metrics", None)
            for one in outputs
        ]
        metrics = [None if one is None else [one.per_step_drafted, one.per_step_accepted] for one in found]
        return tokens, metrics

    if speculative is None:
        together, _ = decode(prompts)
        alone, _ = decode(prompts[:1])
        return {"together": together, "alone": alone}
    from paceline_vllm.engine import set_up

    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    results = {}
    for label, block in asked["policies"].items():
        scheduler.vllm_config.additional_config = {"paceline": block}
        scheduler._paceline_setup.close()
        table = scheduler.dynamic_sd_lookup
        scheduler._paceline_begin(
            set_up(scheduler.vllm_config, table=table, delay=scheduler._paceline_delay, about={})
        )
        adapter = scheduler._paceline_setup.adapter
        plans, rounds = watched(adapter)
        alone, metrics = decode(prompts[:1])
        by_one = [[(plan.gamma, plan.reason) for plan in plans], rounds[:], metrics]
        del plans[:], rounds[:]
        together, metrics = decode(prompts)
        results[label] = {
            "alone": alone,
            "by_one": by_one,
            "together": together,
            "metrics": metrics,
            "rounds": rounds,
            "counters": adapter.counters(),
            "costs": [
                getattr(adapter.costs.of(1), name)
                for name in ("base_s", "token_s", "block_s", "draft_token_s")
            ],
        }
    scheduler._paceline_setup.close()
    return results


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        offer_policies(Path(folder))
        asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        Path(sys.argv[2]).write_text(json.dumps(main(asked, sys.argv[2])), encoding="utf-8")
