"""Keeps off the terminal what transformers writes there and nobody who runs paceline can do anything about."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from transformers.utils import logging as hf_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Show no progress bars where nobody watches them, and no tables of tensors that an error of ours tells of.

    The tables come by the logger of the module that loads, as warnings with that title.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_no_report)
    try:
        if sys.stderr.isatty():
            yield
        else:
            with no_progress_bars():
                yield
    finally:
        logger.removeFilter(_no_report)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Show no progress bars, and put the setting back afterwards."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Show errors of transformers only, for a call of which every argument is ours.

    Its assisted generation calls `generate` in a way that it calls deprecated itself, and says so.
    """
    before = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(before)


def _no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
