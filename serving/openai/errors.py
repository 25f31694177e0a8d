"""Errors in the shape that OpenAI's clients read, in words that a client can act on."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse


class ApiError(Exception):
    """An error to be told to the client.

    Args:
        message: What is wrong, what is allowed.
        status: The HTTP status.
        param: The parameter at fault.
        code: A word for programs.
        retry_s: Seconds after which it may go better.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.retry_s = retry_s

    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the response that says so."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), status_code=self.status, headers=headers)


def refused(error: ValidationError, kind: type[BaseModel]) -> ApiError:
    """Return what tells a client which of its parameters are wrong.

    The words are the descriptions of the fields of `kind`, each of which goes on where its name begins a sentence.
    """
    names = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
    sentences = []
    for name in names:
        field = kind.model_fields.get(name)
        said = "is not a parameter of this server" if field is None else field.description
        sentences.append(f"{name[:100]} {said}")
    first = next(iter(names), None)
    return ApiError(
        "; ".join(sentences) or "the body is a JSON object of parameters",
        param=first and first[:100],
        code="invalid_parameter",
    )
