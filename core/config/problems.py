"""Building validation errors of our own, so that they merge with pydantic's and keep their paths."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel


def problem(kind: str, message: str, found: object, *path: str) -> ValidationError:
    """Return a validation error with one problem at `path` below the place where it is raised."""
    return ValidationError.from_exception_data("config", [_details(kind, message, found, path)])


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or "" when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def suggest_keys(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """Return the error with unknown keys of `model` itself reworded: the nearest key, or all that are known."""
    details = error.errors(include_url=False)
    if not any(row["type"] == "extra_forbidden" and len(row["loc"]) == 1 for row in details):
        return error
    known = [field.alias or name for name, field in model.model_fields.items()]
    rows = []
    for row in details:
        kind, message = row["type"], row["msg"]
        if kind == "extra_forbidden" and len(row["loc"]) == 1:
            near = nearest(str(row["loc"][0]), known)
            kind, message = "unknown_key", f"unknown key{near or '; allowed: ' + ', '.join(known)}"
        rows.append(_details(kind, message, row["input"], row["loc"]))
    return ValidationError.from_exception_data(error.title, rows)


def _details(kind: str, message: str, found: object, path: tuple[int | str, ...]) -> InitErrorDetails:
    # Without a context pydantic leaves braces in the message alone.
    custom = PydanticCustomError(kind, message)
    return InitErrorDetails(type=custom, loc=path, input=found)
