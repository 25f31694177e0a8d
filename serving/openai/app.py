"""The application: routes, from a request's bytes to an answer's bytes. It knows nothing of Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import wraps
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.core.errors import BackendError, CapabilityError
from paceline.core.records import Round
from paceline.serving.engine import DecoderEngine
from paceline.serving.openai.admission import Admission, AdmissionMiddleware
from paceline.serving.openai.errors import ApiError
from paceline.serving.openai.requests import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    parse_request,
    read_body,
)
from paceline.serving.openai.responses import DONE, Completion, ResponseFormat, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

log = structlog.get_logger()

Handler = Callable[["Request"], Awaitable[Response]]
RequestT = TypeVar("RequestT", bound=GenerationRequest)
Tokens = TypeVar("Tokens", bound=list[int] | None)

GONE = 499
"""The status, seen by nobody, of an answer to a client that is gone."""


def create_app(
    engine: DecoderEngine, *, admission: Admission | None = None, pages: Mapping[str, Handler] | None = None
) -> Starlette:
    """Return an application that serves an engine.

    Args:
        engine: What decodes.
        admission: What is let in; what `Admission` lets in by default without one.
        pages: Further pages, by path.
    """
    admission = Admission() if admission is None else admission
    api = Api(engine, admission)
    handlers = {
        ("GET", "/health"): api.health,
        ("GET", "/v1/models"): api.models,
        ("GET", "/v1/models/{model:path}"): api.one_model,
        ("POST", "/v1/completions"): api.completions,
        ("POST", "/v1/chat/completions"): api.chat_completions,
        **{("GET", path): handler for path, handler in (pages or {}).items()},
    }
    routes = [
        Route(path, _errors_as_responses(handler), methods=[method])
        for (method, path), handler in handlers.items()
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(AdmissionMiddleware, admission)],
        exception_handlers={404: _unknown, 405: _unknown},
    )


class Api:
    """The handlers."""

    def __init__(self, engine: DecoderEngine, admission: Admission) -> None:
        self._engine, self._admission = engine, admission
        # Long prompts take seconds to encode. One thread for all, since tokenizers are not made for several, and so
        # that decoding keeps the other cores.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="paceline-reader")

    async def health(self, request: Request) -> Response:
        """Tell that the replica is up, and whose it is."""
        return JSONResponse(
            {"status": "closing" if self._admission.closing else "ok", "server": self._admission.server}
        )

    async def models(self, request: Request) -> Response:
        """List the one model there is."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def one_model(self, request: Request) -> Response:
        """Tell of a model."""
        self._check_model(request.path_params["model"])
        return JSONResponse(self._model())

    async def completions(self, request: Request) -> Response:
        """Go on with a text."""
        body = await self._read(request, CompletionRequest)
        prompt = await self._encoded(lambda: self._engine.encode(body.prompt))
        return await self._answer(request, body, prompt, body.max_tokens, chat=False)

    async def chat_completions(self, request: Request) -> Response:
        """Say the next thing in a conversation."""
        body = await self._read(request, ChatRequest)
        prompt = await self._encoded(
            lambda: self._engine.chat([message.plain() for message in body.messages])
        )
        if prompt is None:
            raise ApiError(
                f"{self._engine.model} has no chat template; use /v1/completions, or a model whose tokenizer has one",
                code="no_chat_template",
            )
        most = body.max_completion_tokens or body.max_tokens
        return await self._answer(request, body, prompt, most, chat=True)

    async def _answer(
        self, request: Request, body: GenerationRequest, prompt: list[int], most: int | None, *, chat: bool
    ) -> Response:
        try:
            sampling = body.sampling(self._engine.sampling)
        except ValueError as error:
            raise ApiError(str(error), code="invalid_parameter") from None
        rounds = self._engine.rounds(prompt, max_new_tokens=most, stop=body.stop, sampling=sampling)
        completion = Completion(self._engine.codec, body.stop, len(prompt))
        form = ResponseFormat(self._engine.model, chat)
        if body.stream:
            # What is wrong with the request itself shows with the first round, while a status can still be sent.
            first = await anext(rounds, None)
            usage = body.stream_options is not None and body.stream_options.include_usage
            return StreamingResponse(
                _events(first, rounds, completion, form, usage=usage),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            )
        pieces = []
        async with aclosing(_generator(rounds)) as running:
            async for done in running:
                pieces.append(completion.add(done))
                if await request.is_disconnected():
                    return Response(status_code=GONE)
        pieces.append(completion.finish())
        return JSONResponse(form.whole("".join(pieces), completion))

    async def _read(self, request: Request, kind: type[RequestT]) -> RequestT:
        content = await read_body(request, self._admission)
        body = await asyncio.get_running_loop().run_in_executor(self._reader, parse_request, content, kind)
        self._check_model(body.model)
        return body

    async def _encoded(self, work: Callable[[], Tokens]) -> Tokens:
        """Return the tokens that a prompt has by `work`, whose errors may quote it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, work)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - tokenizers raise what they like
            log.error("prompt_not_encoded", error=type(error).__name__, at=_places(error))  # noqa: TRY400
            raise ApiError(
                "the server cannot encode this prompt; its log says where", status=500, code="internal_error"
            ) from None

    def _model(self) -> dict[str, Any]:
        return {"id": self._engine.model, "object": "model", "created": 0, "owned_by": "paceline"}

    def _check_model(self, name: str | None) -> None:
        if name is not None and name != self._engine.model:
            raise ApiError(
                f"there is no model {name[:100]!r} here, only {self._engine.model!r}",
                status=404,
                param="model",
                code="model_not_found",
            )


async def _events(
    first: Round | None,
    rounds: AsyncIterator[Round],
    completion: Completion,
    form: ResponseFormat,
    *,
    usage: bool,
) -> AsyncIterator[bytes]:
    """Yield an answer piece by piece; the decoder lets the request go when nobody reads on."""
    async with aclosing(_generator(rounds)) as running:
        try:
            if form.chat:
                yield event(form.chunk("", first=True))
            if first is not None and (piece := completion.add(first)):
                yield event(form.chunk(piece))
            async for done in running:
                if piece := completion.add(done):
                    yield event(form.chunk(piece))
            if piece := completion.finish():
                yield event(form.chunk(piece))
            yield event(form.chunk(None, reason=completion.reason))
            if usage:
                yield event(form.tail(completion))
        except Exception as error:  # noqa: BLE001 - the status is gone; the client is told in the stream
            yield event(_to_api_error(error).body())
        yield DONE


def _generator(rounds: AsyncIterator[Round]) -> AsyncGenerator[Round, None]:
    """Return the iterator as what it is: something that can be closed."""
    return rounds  # type: ignore[return-value]  # engines yield


def _places(error: Exception) -> list[str]:
    """Return where an error passed, without its words."""
    return [
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]


def _to_api_error(error: Exception) -> ApiError:
    """Return what a client is told; what is not the client's doing is logged, and told without detail."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BackendError | CapabilityError):
        return ApiError(str(error), code="invalid_request")
    log.error("request_failed", error=repr(error), exc_info=error)
    return ApiError("the server failed on this request; its log says why", status=500, code="internal_error")


def _errors_as_responses(handler: Handler) -> Handler:
    """Return a handler whose errors are answers."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - see _explained
            return _to_api_error(error).response()

    return guarded


async def _unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return ApiError(
        f"{request.method} {request.url.path}: there is no such thing here", status=status
    ).response()
