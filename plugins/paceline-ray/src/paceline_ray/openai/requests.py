"""What clients may ask. What this server cannot do is refused where it would change the answer."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from paceline import Sampling

Stops = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
Nothing = Annotated[float, Field(ge=0.0, le=0.0)]


class StreamOptions(BaseModel):
    """What a stream holds besides text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class Asked(BaseModel):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    repetition_penalty: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    seed: int | None = None
    stop: Stops = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    # What does not change the text is taken and let go.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    # What would change it is taken only where it asks for nothing.
    n: Literal[1] | None = None
    presence_penalty: Nothing | None = None
    frequency_penalty: Nothing | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [] if value is None else [value] if isinstance(value, str) else value

    def drawing(self, usual: Sampling) -> Sampling:
        """Return how tokens are drawn: as asked, else as usual; without a seed, by one nobody knows.

        Raises:
            ValueError: The values do not go together.
        """
        warm = usual.temperature if self.temperature is None else self.temperature
        keys = ("top_k", "top_p", "min_p")
        asked = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        if warm == 0.0 and asked.get("top_p") == 1.0:
            del asked["top_p"]  # which many clients send along, and which is neutral
        kept = {key: getattr(usual, key) for key in (*keys, "typical_p")} if warm and not usual.greedy else {}
        penalty = self.repetition_penalty
        return Sampling(
            temperature=warm,
            repetition_penalty=usual.repetition_penalty if penalty is None else penalty,
            seed=secrets.randbits(31) if self.seed is None and warm else self.seed or usual.seed,
            **(kept | asked),
        )


class CompletionAsked(Asked):
    """The body of a request for a completion."""

    prompt: str | list[int]
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    logprobs: None = None
    suffix: None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _only_one(cls, value: object) -> object:
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
            value = value[0]
        tokens = isinstance(value, list) and all(type(token) is int for token in value)
        if not isinstance(value, str) and not tokens:
            raise ValueError("should be a text or a list of tokens; several prompts are several requests")
        return value


class TextPart(BaseModel):
    """A part of a message; this server reads text alone."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str | list[TextPart]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """Return role and text, as chat templates read them."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": self.role, "content": text}


class ChatAsked(Asked):
    """The body of a request for a chat completion."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: Literal[False] | None = None
    top_logprobs: None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
