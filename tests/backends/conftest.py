"""Features of transformers that are deprecated will break: a test that makes it say so fails, as by a warning."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_deprecated() -> Iterator[None]:
    """Fail when transformers logs that something is deprecated; its logger is not heard by pytest's own filter."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    # It says this of its own assisted generation, which tests compare with.
    known = "Passing `generation_config` together with"
    assert [line for line in lines if "deprecated" in line and not line.startswith(known)] == []
