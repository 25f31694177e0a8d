"""A program that test_llm.py runs: vLLM replicas under Ray Serve LLM, and what hub and clients say of them.

Arguments: the folder of the weights, the number of replicas, a port. Prints one JSON document, last.
"""

import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray import serve
from ray.serve.llm import build_openai_app

from paceline_ray.actor import NAMESPACE, end_hub, start_hub
from paceline_ray.llm import llm_config


def main(weights, replicas, port):
    ray.init(address="local", num_cpus=8, include_dashboard=False, namespace=NAMESPACE)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    hub = start_hub(half_life_s=None)
    config = llm_config(
        "tiny",
        str(weights / "target"),
        {"method": "draft_model", "model": str(weights / "draft-small"), "num_speculative_tokens": 4},
        policy={"name": "survival", "max_gamma": 4},
        replicas=replicas,
        engine_kwargs={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 256,
            "max_num_seqs": 8,
            "distributed_executor_backend": "mp",
            "per_request_spec_decode_metrics": "detailed",
        },
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundles": [{"CPU": 1}]},
        log_engine_metrics=False,
    )
    serve.run(build_openai_app({"llm_configs": [config], "ingress_deployment_config": {"num_replicas": 1}}))

    def complete(number):
        asked = {"model": "tiny", "prompt": f"Chapter {number}. It was", "max_tokens": 24, "temperature": 0}
        url = f"http://127.0.0.1:{port}/v1/completions"
        request = urllib.request.Request(
            url, json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request, timeout=60.0))

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(complete, range(12)))
    time.sleep(4.0)  # four reports
    status = ray.get(hub.status.remote(), timeout=10.0)
    serve.shutdown()
    end_hub()
    ray.shutdown()
    sys.stdout.write("\n" + json.dumps({"status": status, "answers": answers}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
