"""From the bytes of a body to what it asks. Nothing here may be told to a log: it holds what users wrote."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from paceline import is_text
from paceline_ray.openai.errors import ApiError, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from paceline_ray.openai.door import Door

DEEPEST = 32
"""Levels of lists and objects in a body; what this interface reads has five."""
PATIENCE_S = 30.0
"""How long a body may take to arrive."""

Some = TypeVar("Some", bound=BaseModel)


async def body_of(request: Request, door: Door) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: It is too long, or does not arrive.
    """
    pieces, length = [], 0
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for piece in request.stream():
                length += len(piece)
                if length > door.body_bytes:
                    raise door.too_long()
                pieces.append(piece)
    except TimeoutError:
        raise ApiError(
            f"the body did not arrive within {PATIENCE_S:g} s", status=408, code="slow_body"
        ) from None
    return b"".join(pieces)


def asked_for(body: bytes, kind: type[Some]) -> Some:
    """Return what a body asks.

    Raises:
        ApiError: It is not JSON, or asks for what this server does not do.
    """
    try:
        document = json.loads(body, parse_constant=_not_json)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # of a UnicodeDecodeError, the text would quote the body
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "UTF-8"
        raise ApiError(f"the body is not JSON ({reason})", code="invalid_json") from None
    _check(document)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise refused(error, kind) from None


def _check(document: Any) -> None:
    level = [document]
    for _ in range(DEEPEST):
        if not all(is_text(value) for value in level if isinstance(value, str)):
            raise ApiError(
                "the body holds half of a surrogate pair, which is no character", code="invalid_text"
            )
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in ([*value.keys(), *value.values()] if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ApiError:
    return ApiError(f"the body is nested deeper than {DEEPEST} levels", code="invalid_json")


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
