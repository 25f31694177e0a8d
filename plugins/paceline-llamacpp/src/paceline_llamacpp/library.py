"""llama.cpp as llama-cpp-python binds it: loaded when first needed, its log kept for error messages.

llama.cpp tells why it refuses a file in its log alone. The log is one for the whole process, so it is read here.
"""

from __future__ import annotations

import ctypes
from collections import deque
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from paceline import BackendError, Capabilities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BACKEND: Final = "llama-cpp"
"""The name of the backend in run files, with which its messages begin."""

CAPABILITIES: Final = Capabilities(sampling=True, processors=True)

PACKAGE: Final = "llama-cpp-python"
OLDEST: Final = (0, 3, 20)
"""The first supported release of llama-cpp-python: the oldest whose interface was looked at."""

REMEDY: Final = (
    "run: CMAKE_ARGS=-DGGML_NATIVE=ON pip install 'llama-cpp-python>=0.3.20' (it builds for minutes)"
)

ERROR: Final = 4
"""The level of error messages in llama.cpp's log (ggml.h, `ggml_log_level`)."""


def missing_library() -> tuple[str, ...]:
    """Return a sentence if llama-cpp-python is absent or too old; loads nothing."""
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        version = None
    if version is None or find_spec("llama_cpp") is None:
        return (f"{PACKAGE} is not installed; {REMEDY}",)
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers < OLDEST:
        return (f"{PACKAGE} {version} is too old; {REMEDY}",)
    return ()


class Library:
    """The functions of llama.cpp.

    Attributes:
        api: The module of llama-cpp-python that binds llama.h one to one.
        version: Of llama-cpp-python.
    """

    def __init__(self) -> None:
        problems = missing_library()
        if problems:
            raise BackendError(f"{BACKEND}: {problems[0]}")
        try:
            self.api: Any = import_module("llama_cpp.llama_cpp")
        except (ImportError, OSError, RuntimeError) as problem:  # a build that this machine cannot load
            raise BackendError(f"{BACKEND}: {PACKAGE} cannot be loaded ({problem}); {REMEDY}") from problem
        self.version = metadata.version(PACKAGE)
        self._errors: deque[str] = deque(maxlen=8)
        # llama.cpp keeps the address alone, so the function must live as long as the process.
        self._write = self.api.llama_log_callback(self._log)
        self.api.llama_log_set(self._write, ctypes.c_void_p(0))
        self.api.llama_backend_init()

    def _log(self, level: int, text: bytes, _data: int | None) -> None:
        if level == ERROR:
            self._errors.append(text.decode("utf-8", "replace").strip())

    def complaints(self) -> str:
        """Return the errors that llama.cpp has logged since they were last asked for, on one line."""
        lines = [line for line in self._errors if line]
        self._errors.clear()
        return "; ".join(line.partition(": ")[2] or line for line in lines)

    def load(self, path: Path, *, gpu_layers: int = 0, vocabulary_only: bool = False) -> int:
        """Return the address of a model.

        Raises:
            BackendError: llama.cpp refuses the file; says why.
        """
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocabulary_only
        self.complaints()
        address = self.api.llama_model_load_from_file(str(path).encode(), params)
        if not address:
            raise BackendError(
                f"{BACKEND}: {path.name} cannot be loaded: {self.complaints() or 'no reason given'}"
            )
        return int(address)

    def devices(self) -> str:
        """Return where this build can compute, and with which instructions, as llama.cpp says it."""
        said = self.api.llama_print_system_info().decode()
        where = "with a GPU" if self.api.llama_supports_gpu_offload() else "CPU only"
        return f"llama.cpp of {PACKAGE} {self.version}, {where}: {said.strip(' |')}"


@cache
def library() -> Library:
    """Return llama.cpp, loaded by the first call.

    Raises:
        BackendError: It is not installed, too old, or cannot be loaded.
    """
    return Library()


def text_of(read: Any, *about: Any, size: int = 1024) -> str | None:
    """Return the text that a function of llama.cpp writes into a buffer, or None where it has none.

    Such functions return the length that the text has; a buffer that was too short is made longer.
    """
    buffer = ctypes.create_string_buffer(size)
    length = int(read(*about, buffer, size))
    if length < 0:
        return None
    if length >= size:
        return text_of(read, *about, size=length + 1)
    return buffer.value.decode("utf-8", "replace")


def ints(values: Sequence[int]) -> Any:
    """Return an array of C integers."""
    return (ctypes.c_int32 * len(values))(*values)
