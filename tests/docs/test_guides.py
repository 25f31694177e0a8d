"""The guides of the servers, as they are written, in environments that hold nothing else: `make test-engines`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "backends" / "embedded" / "weights"
INSTALL_S, START_S, ASK_S = 1800.0, 400.0, 400.0
VLLM = "PACELINE_VLLM_ENV"
"""Environment variable: an environment that holds vLLM; what else it holds of paceline is hidden."""

READY = {"paceline-ray": "serving 'paceline' by", "paceline-vllm": "Application startup complete"}


class Guide:
    """Runs the lines of a page, one after the other, as a reader would; a server runs until the next one starts.

    Args:
        folder: A copy of the source, where the reader is.
        environment: An environment of Python, whose commands come first.
    """

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"
        self.said: dict[str, str] = {}
        self._variables = {
            **os.environ,
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }

    def line(self, line: str) -> None:
        if " serve" in line and "--show" not in line:
            self.end()
            self._serve(line)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, env=self._variables,
                capture_output=True, text=True, timeout=INSTALL_S if "pip" in line else ASK_S, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            self.said[line] = done.stdout

    def _serve(self, line: str) -> None:
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec env {line}" if "=" in line.partition(" ")[0] else f"exec {line}"],
                cwd=self.folder, env=self._variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        ready = next(sign for name, sign in READY.items() if name in line)
        until = time.monotonic() + START_S
        while ready not in self.log.read_text(encoding="utf-8", errors="replace"):
            assert self.server.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
            assert time.monotonic() < until, f"{line}: not ready"
            time.sleep(0.5)

    def end(self) -> None:
        """End the server as an operator does, and see that it ends well."""
        if self.server is None:
            return
        self.server.send_signal(signal.SIGTERM)
        try:
            code = self.server.wait(90.0)
        except subprocess.TimeoutExpired:
            code = None
        self.stop()
        assert code == 0, self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def stop(self) -> None:
        """End whatever is left, by the id of its group."""
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.server = None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what is in the repository, so that building leaves nothing in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    folder = tmp_path / "paceline"
    for name in filter(None, listed.split("\0")):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            place.symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            shutil.copy2(ROOT / name, place)
    return folder


@pytest.fixture
def guide(source: Path, tmp_path: Path) -> Iterator[Guide]:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    found = Guide(source, environment)
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def free_port() -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            pytest.skip("port 8000, which the guides use, is taken")


def run_page(page: str, guide: Guide, blocks: Callable[..., list[Any]]) -> None:
    for block in blocks(ROOT / "docs" / page, "sh", "yaml"):
        if block.language == "yaml":
            (guide.folder / block.file).write_text(block.text, encoding="utf-8")
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("make "):
                guide.line(line)
    guide.end()


def files_first(guide: Guide, page: str, blocks: Callable[..., list[Any]]) -> None:
    """Write the files of a page before its first line: commands stand before the files that they name."""
    for block in blocks(ROOT / "docs" / page, "yaml"):
        (guide.folder / block.file).write_text(block.text, encoding="utf-8")


def test_the_guide_of_ray_works_as_written(guide: Guide, blocks: Callable[..., list[Any]]) -> None:
    files_first(guide, "ray.md", blocks)
    (guide.folder / "key.txt").write_text("secret\n", encoding="utf-8")
    rows = "".join(f'{{"prompt": "Chapter {number}. It was", "id": {number}}}\n' for number in range(3))
    (guide.folder / "prompts.jsonl").write_text(rows, encoding="utf-8")
    run_page("ray.md", guide, blocks)
    assert len((guide.folder / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert any('"text_completion"' in said for said in guide.said.values())


@pytest.mark.skipif(VLLM not in os.environ, reason=f"{VLLM} names no environment that holds vLLM")
def test_the_guide_of_vllm_works_as_written(
    guide: Guide, blocks: Callable[..., list[Any]], tmp_path: Path
) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    theirs = Path(os.environ[VLLM]) / "lib" / version / "site-packages"
    site = tmp_path / "environment" / "lib" / version / "site-packages"
    for entry in theirs.iterdir():
        if "paceline" not in entry.name and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    for name, weights in (("big-model", "target"), ("small-model", "draft-small")):
        (guide.folder / name).symlink_to(WEIGHTS / weights)
    files_first(guide, "vllm.md", blocks)
    run_page("vllm.md", guide, blocks)
    assert any("paceline_steps" in said for said in guide.said.values())
    assert (guide.folder / "runs" / "serving.jsonl").parent.is_dir()
