"""Request bodies: read, parsed and checked. Whatever this server cannot do is refused where it would change the answer.

Nothing here may be told to a log: it holds what users wrote.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from paceline.core.json_text import is_text
from paceline.core.processors import LogitBias
from paceline.core.sampling import Sampling
from paceline.serving.openai.errors import ApiError, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from paceline.serving.openai.admission import Admission

DEEPEST = 32
"""Levels of lists and objects in a body; what this interface reads has five."""
PATIENCE_S = 30.0
"""Seconds that a body may take to arrive."""
MOST_TOKENS = 2**20
HOTTEST = 100.0
LONGEST_NAME = 256
"""Characters of a stop string, a role or a name."""
MOST_MESSAGES = 4096
MOST_TOOLS = 128

RESERVED = frozenset(
    {"conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"}
    | {"continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"}
    | {"return_assistant_tokens_mask", "tokenizer_kwargs", "processor_kwargs"}
)
"""Options of a chat template that are not the client's to set; `chat_template` would be a program of its own."""

UNSUPPORTED = "is not supported by this server; leave it out"

Stops = Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]], Field(max_length=4)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Zero = Annotated[float, Field(ge=0.0, le=0.0)]
MOST_BIASES = 1024
# Keys of an object are texts in JSON.
Biases = Annotated[
    dict[
        Annotated[int, Field(ge=0, lt=MOST_TOKENS, strict=False)],
        Annotated[float, Field(ge=-100.0, le=100.0)],
    ],
    Field(max_length=MOST_BIASES),
]
MOST = f"is a whole number from 1 to {MOST_TOKENS}"


class StreamOptions(BaseModel):
    """Options of a stream besides text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class GenerationRequest(BaseModel):
    """Fields that requests for completions and for chat completions have in common.

    The description of a field is what a client is told whose value is refused, after the name of the field.
    """

    # Strict: "5" is no number, as it is none for OpenAI.
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(default=None, description="is the name of the model, a text")
    max_tokens: Tokens | None = Field(default=None, description=MOST)
    temperature: float | None = Field(
        default=None, ge=0.0, le=HOTTEST, description=f"is a number from 0 to {HOTTEST:g}"
    )
    top_p: float | None = Field(default=None, gt=0.0, le=1.0, description="is a number above 0, at most 1")
    top_k: int | None = Field(default=None, ge=1, le=MOST_TOKENS, description="is a whole number, at least 1")
    min_p: float | None = Field(default=None, ge=0.0, le=1.0, description="is a number from 0 to 1")
    repetition_penalty: float | None = Field(
        default=None, ge=0.01, le=HOTTEST, description=f"is a number from 0.01 to {HOTTEST:g}"
    )
    logit_bias: Biases | None = Field(
        default=None,
        description=f"is an object with a bias from -100 to 100 for each of up to {MOST_BIASES} tokens, by number",
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="is a whole number of 64 bits")
    stop: Stops = Field(
        default=[], description=f"is a text or up to 4 of them, each of 1 to {LONGEST_NAME} characters"
    )
    stream: bool = Field(default=False, description="is true or false")
    stream_options: StreamOptions | None = Field(
        default=None, description='may be {"include_usage": true} and nothing else'
    )
    # What does not change the text is taken and let go.
    user: str | None = Field(default=None, description="is a text")
    metadata: dict[str, Any] | None = Field(default=None, description="is an object")
    store: bool | None = Field(default=None, description="is true or false")
    service_tier: str | None = Field(default=None, description="is a text")
    # What would change it is taken only where it asks for nothing.
    n: Literal[1] | None = Field(
        default=None, description="above 1 is not supported by this server; ask once for each text"
    )
    presence_penalty: Zero | None = Field(default=None, description=f"{UNSUPPORTED}, or give 0")
    frequency_penalty: Zero | None = Field(default=None, description=f"{UNSUPPORTED}, or give 0")

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [] if value is None else [value] if isinstance(value, str) else value

    def sampling(self, usual: Sampling) -> Sampling:
        """Return how tokens are drawn: as asked, else as usual; without a seed, by one nobody knows.

        Raises:
            ValueError: The values do not go together.
        """
        warm = usual.temperature if self.temperature is None else self.temperature
        keys = ("top_k", "top_p", "min_p")
        # Clients send these along at temperature 0, where the likeliest token stays the likeliest.
        settings = {key: getattr(self, key) for key in keys if warm and getattr(self, key) is not None}
        kept = {key: getattr(usual, key) for key in (*keys, "typical_p")} if warm and not usual.greedy else {}
        penalty = self.repetition_penalty
        return Sampling(
            temperature=warm,
            repetition_penalty=usual.repetition_penalty if penalty is None else penalty,
            seed=secrets.randbits(31) if self.seed is None and warm else self.seed or usual.seed,
            processors=(*usual.processors, *([LogitBias(self.logit_bias)] if self.logit_bias else [])),
            **(kept | settings),
        )


class CompletionRequest(GenerationRequest):
    """The body of a request for a completion."""

    prompt: str | list[int] = Field(
        description="is a text or a list of tokens; several prompts are several requests"
    )
    echo: Literal[False] | None = Field(default=None, description=UNSUPPORTED)
    best_of: Literal[1] | None = Field(default=None, description=f"above 1 {UNSUPPORTED}")
    logprobs: None = Field(default=None, description=UNSUPPORTED)
    suffix: None = Field(default=None, description=UNSUPPORTED)

    @field_validator("prompt", mode="before")
    @classmethod
    def _only_one(cls, value: object) -> object:
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
            value = value[0]
        tokens = isinstance(value, list) and all(type(token) is int for token in value)
        if not isinstance(value, str) and not tokens:
            raise ValueError("neither a text nor tokens")
        return value


class TextPart(BaseModel):
    """A part of a message; this server reads text alone."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Function(BaseModel):
    """A call of a function, as a model asked for it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_NAME)
    arguments: str | dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return name and arguments; chat templates take these as values, OpenAI's clients send a JSON text."""
        arguments: object = self.arguments
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments, parse_constant=_not_json)
            except (ValueError, RecursionError):
                arguments = self.arguments
        return {"name": self.name, "arguments": arguments}


class ToolCall(BaseModel):
    """A call of a tool in an assistant's message."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, max_length=LONGEST_NAME)
    type: Literal["function"] = "function"
    function: Function


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(max_length=LONGEST_NAME)
    content: str | list[TextPart] | None = None
    name: str | None = Field(default=None, max_length=LONGEST_NAME)
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MOST_TOOLS)] | None = None
    tool_call_id: str | None = Field(default=None, max_length=LONGEST_NAME)
    # Clients hand back what an assistant said with all that OpenAI may say beside it.
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the message as chat templates read it."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        said: dict[str, Any] = {"role": self.role, "content": text}
        for key in ("name", "reasoning", "reasoning_content", "tool_call_id"):
            if (value := getattr(self, key)) is not None:
                said[key] = value
        if self.tool_calls:
            said["tool_calls"] = [
                {"id": call.id, "type": call.type, "function": call.function.plain()}
                for call in self.tool_calls
            ]
        return said


class ChatRequest(GenerationRequest):
    """The body of a request for a chat completion."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)] = Field(
        description="is a list of messages, each with a role and a text as its content; this server reads no pictures "
        "and no sounds"
    )
    max_completion_tokens: Tokens | None = Field(default=None, description=MOST)
    logprobs: Literal[False] | None = Field(default=None, description=UNSUPPORTED)
    top_logprobs: None = Field(default=None, description=UNSUPPORTED)
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = Field(
        default=None, description=f"is a list of up to {MOST_TOOLS} tools, which the chat template is shown"
    )
    tool_choice: Literal["none", "auto"] | None = Field(
        default=None, description='is "none" or "auto"; this server makes no model call a tool'
    )
    parallel_tool_calls: bool | None = Field(default=None, description="is true or false")
    reasoning_effort: Annotated[str, Field(max_length=LONGEST_NAME)] | None = Field(
        default=None, description="is a text, which the chat template is shown"
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="is an object of what the chat template reads, such as enable_thinking"
    )
    response_format: dict[Literal["type"], Literal["text"]] | None = Field(
        default=None, description='other than {"type": "text"} is not supported by this server; leave it out'
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _not_reserved(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if RESERVED & set(value or ()):
            raise ValueError("holds what is not the client's")
        return value

    def offered(self) -> set[str]:
        """Return the names of the tools that the model may call."""
        tools = () if self.tool_choice == "none" else self.tools or ()
        functions = (tool.get("function", tool) for tool in tools)
        return {
            function["name"]
            for function in functions
            if isinstance(function, dict) and isinstance(function.get("name"), str)
        }

    def template_options(self) -> dict[str, Any]:
        """Return what the chat template is shown beside the messages."""
        options = dict(self.chat_template_kwargs or {})
        if self.tools and self.tool_choice != "none":
            options["tools"] = self.tools
        if self.reasoning_effort is not None:
            options["reasoning_effort"] = self.reasoning_effort
        return options


RequestT = TypeVar("RequestT", bound=BaseModel)


async def read_body(request: Request, admission: Admission) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: It is too long, or does not arrive.
    """
    pieces, length = [], 0
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for piece in request.stream():
                length += len(piece)
                if length > admission.body_bytes:
                    raise admission.too_long()
                pieces.append(piece)
    except TimeoutError:
        raise ApiError(
            f"the body did not arrive within {PATIENCE_S:g} s", status=408, code="slow_body"
        ) from None
    return b"".join(pieces)


def parse_request(body: bytes, kind: type[RequestT]) -> RequestT:
    """Return what a body asks.

    Raises:
        ApiError: It is not JSON, or asks for what this server does not do.
    """
    try:
        document = json.loads(body, parse_constant=_not_json)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # of a UnicodeDecodeError, the text would quote the body
        reason = "in UTF-8 with finite numbers"
        if isinstance(error, json.JSONDecodeError):
            reason = f"({error.msg}, line {error.lineno})"
        raise ApiError(f"the body is not JSON {reason}", code="invalid_json") from None
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
