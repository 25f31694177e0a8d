"""Errors in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse


class ApiError(Exception):
    """An error to be told to the client.

    Args:
        message: What is wrong, what is allowed.
        status: The HTTP status.
        param: The parameter at fault.
        code: A word for programs.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code

    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the response that says so."""
        return JSONResponse(self.body(), status_code=self.status)


def refused(error: ValidationError) -> ApiError:
    """Return what tells a client which of its parameters are wrong."""
    problems = error.errors(include_url=False)
    first = str(problems[0]["loc"][0]) if problems[0]["loc"] else None
    sentences = []
    for problem in problems:
        name = ".".join(str(part) for part in problem["loc"]) or "the request"
        known = problem["type"] != "extra_forbidden"
        sentences.append(f"{name}: {problem['msg'] if known else 'not a parameter that this server knows'}")
    return ApiError("; ".join(sentences), param=first, code="invalid_parameter")
