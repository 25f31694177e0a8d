"""Models that the tests write themselves, and the reason why they are skipped where llama.cpp is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_llamacpp import LlamaCppConfig

REASON = "llama.cpp or gguf is not installed here: make test-llamacpp builds an environment with both"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A Llama of random weights with 96 tokens without text."""
    pytest.importorskip("gguf", reason=REASON)
    from paceline_llamacpp.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def smaller(tmp_path_factory) -> Path:
    """Another such model, for a draft that is often wrong."""
    pytest.importorskip("gguf", reason=REASON)
    from paceline_llamacpp.tiny import Shape, write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny") / "smaller.gguf", Shape(layers=1), seed=1)


@pytest.fixture
def build(tiny) -> Callable[..., Any]:
    """Build the tiny target in another form; skipped without llama.cpp."""
    pytest.importorskip("llama_cpp", reason=REASON)
    return lambda **options: LlamaCppConfig(
        **{"model": str(tiny), "cache_type": "f32", **options}
    ).build_target()


TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'nobody' %}{{ raise_exception('nobody is asked') }}{% endif %}"
    "[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}answer:{% endif %}"
)


def byte_letters() -> list[str]:
    """Return the letters by which byte-level vocabularies spell the 256 bytes (GPT-2's `bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {
        byte: chr(256 + place) for place, byte in enumerate(hidden)
    }
    return [letters[byte] for byte in range(256)]


def write_worded(path: Path, *, last: str = "last") -> Path:
    """Write a tiny model whose tokens are the bytes, two merges, an end token and a last one."""
    import gguf

    from paceline_llamacpp.tiny import Shape, finish, header, random_weights

    tokens = [*byte_letters(), "he", "hel", "<|end|>", last]
    kinds = [gguf.TokenType.NORMAL] * 258 + [gguf.TokenType.CONTROL, gguf.TokenType.NORMAL]
    shape = Shape(vocabulary=len(tokens))
    writer = header(path, shape)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e", "he l"])
    writer.add_eos_token_id(258)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    return finish(writer, random_weights(shape, 0), path)


@pytest.fixture(scope="session")
def worded(tmp_path_factory) -> Path:
    """A tiny model with a tokenizer and a chat template."""
    for library in ("gguf", "llama_cpp"):
        pytest.importorskip(library, reason=REASON)
    return write_worded(tmp_path_factory.mktemp("worded") / "worded.gguf")


@pytest.fixture(scope="session")
def spelt_otherwise(worded, tmp_path_factory) -> Path:
    """The same model, but for the spelling of its last token."""
    return write_worded(tmp_path_factory.mktemp("worded") / "otherwise.gguf", last="other")
