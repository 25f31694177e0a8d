"""The application: routes, from a request's bytes to an answer's bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import wraps
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.core.errors import (
    BackendError,
    CapabilityError,
    ClosedError,
    DeadlineError,
    PacelineError,
    TargetError,
)
from paceline.core.log import log
from paceline.core.records import Round
from paceline.serving.async_decoder import AsyncDecoder
from paceline.serving.openai.admission import Admission, AdmissionMiddleware
from paceline.serving.openai.errors import ApiError
from paceline.serving.openai.requests import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    parse_request,
    read_body,
)
from paceline.serving.openai.responses import DONE, Completion, Part, ResponseFormat, event
from paceline.serving.openai.tool_calls import ToolCallReader, form_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from paceline.serving.metrics import Metrics


Handler = Callable[["Request"], Awaitable[Response]]
RequestT = TypeVar("RequestT", bound=GenerationRequest)
T = TypeVar("T")

GONE = 499
"""The status, seen by nobody, of an answer to a client that is gone."""


@dataclass(slots=True)
class ServedModel:
    """A model as the server knows it.

    Attributes:
        name: The name clients know it by.
        decoder: What decodes; None while it loads, when requests are answered 503.
        deadline_s: Seconds that a request may take; None sets no limit.
    """

    name: str
    decoder: AsyncDecoder | None = None
    deadline_s: float | None = None

    def counts(self) -> tuple[int, int]:
        """Return how many requests have begun, and how many wait."""
        return (0, 0) if self.decoder is None else self.decoder.counts()

    def ready(self) -> AsyncDecoder:
        """Return the decoder.

        Raises:
            ApiError: It is not loaded yet.
        """
        if self.decoder is None:
            raise ApiError("the model is being loaded; try again", status=503, code="loading", retry_s=2)
        return self.decoder


def create_app(
    model: ServedModel,
    *,
    admission: Admission | None = None,
    metrics: Metrics | None = None,
    pages: Mapping[str, Handler] | None = None,
) -> Starlette:
    """Return an application that serves a model.

    Args:
        model: What is served; its decoder may come later.
        admission: What is let in; what `Admission` lets in by default without one.
        metrics: What `/metrics` shows, as the observer of the decoder; without it there is no such page.
        pages: Further pages, by path.
    """
    admission = Admission() if admission is None else admission
    api = Api(model, admission, metrics)
    handlers = {
        ("GET", "/health"): api.health,
        ("GET", "/v1/models"): api.models,
        ("GET", "/v1/models/{model:path}"): api.one_model,
        ("POST", "/v1/completions"): api.completions,
        ("POST", "/v1/chat/completions"): api.chat_completions,
        **({} if metrics is None else {("GET", "/metrics"): api.metrics}),
        **{("GET", path): handler for path, handler in (pages or {}).items()},
    }
    routes = [
        Route(path, _errors_as_responses(handler), methods=[method])
        for (method, path), handler in handlers.items()
    ]
    on_response = _ignore if metrics is None else metrics.on_response
    return Starlette(
        routes=routes,
        middleware=[Middleware(AdmissionMiddleware, admission, on_response)],
        exception_handlers={404: _unknown, 405: _not_allowed},
    )


def _ignore(_status: int) -> None:
    pass


class Api:
    """The handlers."""

    def __init__(self, model: ServedModel, admission: Admission, metrics: Metrics | None) -> None:
        self._model, self._admission, self._metrics = model, admission, metrics

    async def health(self, request: Request) -> Response:
        """Tell whether requests are taken, and whose server this is."""
        closing, loading = self._admission.closing, self._model.decoder is None
        status = "closing" if closing else "loading" if loading else "ok"
        return JSONResponse(
            {"status": status, "server": self._admission.server}, status_code=200 if status == "ok" else 503
        )

    async def metrics(self, request: Request) -> Response:
        """Tell what was counted."""
        assert self._metrics is not None
        return Response(self._metrics.text(self._model.counts), media_type=self._metrics.content_type)

    async def models(self, request: Request) -> Response:
        """List the one model there is."""
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def one_model(self, request: Request) -> Response:
        """Tell of a model."""
        self._check_name(request.path_params["model"])
        return JSONResponse(self._described())

    async def completions(self, request: Request) -> Response:
        """Go on with a text."""
        began_s, decoder = time.monotonic(), self._model.ready()
        body = await self._read(request, CompletionRequest)
        prompt = await _encoded(decoder.encode(body.prompt))
        return await self._answer(request, body, prompt, body.max_tokens, began_s)

    async def chat_completions(self, request: Request) -> Response:
        """Say the next thing in a conversation."""
        began_s, decoder = time.monotonic(), self._model.ready()
        body = await self._read(request, ChatRequest)
        messages = [message.plain() for message in body.messages]
        prompt = await _encoded(decoder.encode_chat(messages, **body.template_options()))
        most = body.max_completion_tokens or body.max_tokens
        form = form_of(decoder.decoder.codec().chat_template)
        calls = ToolCallReader(form, body.offered())
        return await self._answer(request, body, prompt, most, began_s, calls)

    async def _answer(
        self,
        request: Request,
        body: GenerationRequest,
        prompt: list[int],
        most: int | None,
        began_s: float,
        calls: ToolCallReader | None = None,
    ) -> Response:
        decoder, limit_s = self._model.ready(), self._model.deadline_s
        try:
            sampling = body.sampling(decoder.decoder.sampling)
        except ValueError as error:
            raise ApiError(str(error), code="invalid_parameter") from None
        completion = Completion(decoder.decoder.text_stream(), body.stop, len(prompt), began_s, calls)
        rounds = decoder.rounds(
            prompt,
            tally=completion.decoded,
            max_new_tokens=most,
            stop=(*decoder.decoder.stop, *body.stop),
            sampling=sampling,
            deadline_s=None if limit_s is None else limit_s - (time.monotonic() - began_s),
        )
        form = ResponseFormat(self._model.name, chat=calls is not None)
        if not body.stream:
            parts = await _while_connected(request, _whole_answer(rounds, completion))
            self._count(completion)
            return JSONResponse(form.whole(parts, completion))
        # Errors of the request itself show with the first round, while a status can still be sent.
        first = await _while_connected(request, anext(rounds, None))
        usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(
            self._events(first, rounds, completion, form, usage=usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def _events(
        self,
        first: Round | None,
        rounds: AsyncGenerator[Round, None],
        completion: Completion,
        form: ResponseFormat,
        *,
        usage: bool,
    ) -> AsyncIterator[bytes]:
        """Yield an answer piece by piece; the decoder lets the request go when nobody reads on."""
        chunks = form.chunks()
        async with aclosing(rounds):
            try:
                if form.chat:
                    yield event(form.chunk("", first=True))
                for chunk in chunks(completion.add(first) if first is not None else []):
                    yield event(chunk)
                async for done in rounds:
                    for chunk in chunks(completion.add(done)):
                        yield event(chunk)
                for chunk in chunks(completion.finish()):
                    yield event(chunk)
                yield event(form.chunk(None, reason=completion.reason))
                if usage:
                    yield event(form.tail(completion))
                self._count(completion)
            except Exception as error:  # noqa: BLE001 - the status is gone; the client is told in the stream
                yield event(_to_api_error(error).body())
            yield DONE

    def _count(self, completion: Completion) -> None:
        if self._metrics is not None and completion.first_s is not None:
            self._metrics.on_text(
                first_s=completion.first_s,
                seconds=completion.seconds,
                tokens_after_first=completion.tokens_after_first,
            )

    async def _read(self, request: Request, kind: type[RequestT]) -> RequestT:
        body = await asyncio.to_thread(parse_request, await read_body(request, self._admission), kind)
        self._check_name(body.model)
        return body

    def _described(self) -> dict[str, Any]:
        return {"id": self._model.name, "object": "model", "created": 0, "owned_by": "paceline"}

    def _check_name(self, name: str | None) -> None:
        if name is not None and name != self._model.name:
            raise ApiError(
                f"there is no model {name[:100]!r} here, only {self._model.name!r}",
                status=404,
                param="model",
                code="model_not_found",
            )


async def _whole_answer(rounds: AsyncGenerator[Round, None], completion: Completion) -> list[Part]:
    async with aclosing(rounds):
        parts = [part async for done in rounds for part in completion.add(done)]
    return [*parts, *completion.finish()]


class ClientGoneError(Exception):
    """The client went away before there was an answer."""


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` returns; it is cancelled when the client goes away, and when this is.

    Raises:
        ClientGoneError: The client went away.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Return when the client has gone away; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _encoded(work: Coroutine[Any, Any, list[int]]) -> list[int]:
    """Return the tokens of a prompt; errors that are not the client's may quote it, and are told and logged without."""
    try:
        return await work
    except PacelineError as error:
        if not isinstance(error, TargetError):
            raise
        problem: BaseException = error.__cause__ or error
    except Exception as error:  # noqa: BLE001 - tokenizers raise what they like
        problem = error
    log.error("prompt_not_encoded", error=type(problem).__name__, at=_places(problem))
    raise ApiError(
        "the server cannot encode this prompt; its log says where", status=500, code="internal_error"
    )


def _places(error: BaseException) -> list[str]:
    """Return where an error passed, without its words."""
    return [
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]


def _to_api_error(error: Exception) -> ApiError:
    """Return what a client is told; what is not the client's doing is logged, and told without detail."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, DeadlineError):
        return ApiError(str(error), status=504, code="deadline_exceeded")
    if isinstance(error, ClosedError):
        return ApiError("this server is shutting down", status=503, code="shutting_down", retry_s=2)
    if isinstance(error, BackendError | CapabilityError) and not isinstance(error, TargetError):
        return ApiError(str(error), code="invalid_request")
    log.error("request_failed", error=repr(error), exc_info=error)
    return ApiError("the server failed on this request; its log says why", status=500, code="internal_error")


def _errors_as_responses(handler: Handler) -> Handler:
    """Return a handler whose errors are answers."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except (ClientGoneError, ClientDisconnect):
            return Response(status_code=GONE)
        except Exception as error:  # noqa: BLE001 - see _to_api_error
            return _to_api_error(error).response()

    return guarded


async def _unknown(request: Request, _error: Exception) -> Response:
    return ApiError(
        f"{request.method} {request.url.path}: there is no such thing here", status=404, code="unknown_url"
    ).response()


async def _not_allowed(request: Request, error: Exception) -> Response:
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    response = ApiError(
        f"{request.method} is not allowed for {request.url.path}; use {allowed.replace(', ', ' or ')}",
        status=405,
        code="method_not_allowed",
    ).response()
    response.headers["Allow"] = allowed
    return response
