"""Runs one engine for `peers`, which starts it; not for use by hand."""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib import import_module

from peers.protocol import serve


def main(arguments: list[str]) -> None:
    """Serve the engine that is named, with its settings as JSON, through a pipe."""
    engine, settings, replies = arguments
    module = import_module(f"peers.engines.{engine}")
    serve(partial(module.load, **json.loads(settings)), int(replies))


if __name__ == "__main__":
    main(sys.argv[1:])
