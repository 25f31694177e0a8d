"""What clients may ask. What this server cannot do is refused where it would change the answer."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from paceline import Sampling

MOST_TOKENS = 2**20
HOTTEST = 100.0
LONGEST_NAME = 256
"""Characters of a stop string, a role or a name."""
MOST_MESSAGES = 4096

UNSUPPORTED = "is not supported by this server; leave it out"

Stops = Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]], Field(max_length=4)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Nothing = Annotated[float, Field(ge=0.0, le=0.0)]
MOST = f"is a whole number from 1 to {MOST_TOKENS}"


class StreamOptions(BaseModel):
    """What a stream holds besides text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class Asked(BaseModel):
    """What both kinds of requests have in common.

    The description of a field is what a client is told whose value is refused, after the name of the field.
    """

    model_config = ConfigDict(extra="forbid")

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
    presence_penalty: Nothing | None = Field(default=None, description=f"{UNSUPPORTED}, or give 0")
    frequency_penalty: Nothing | None = Field(default=None, description=f"{UNSUPPORTED}, or give 0")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        default=None, description=UNSUPPORTED
    )

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
        # Clients send these along at temperature 0, where the likeliest token stays the likeliest.
        asked = {key: getattr(self, key) for key in keys if warm and getattr(self, key) is not None}
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


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(max_length=LONGEST_NAME)
    content: str | list[TextPart]
    name: str | None = Field(default=None, max_length=LONGEST_NAME)

    def plain(self) -> dict[str, str]:
        """Return role and text, as chat templates read them."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": self.role, "content": text}


class ChatAsked(Asked):
    """The body of a request for a chat completion."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)] = Field(
        description="is a list of messages, each with a role and a text as its content; this server reads no pictures, "
        "sounds or calls of tools"
    )
    max_completion_tokens: Tokens | None = Field(default=None, description=MOST)
    logprobs: Literal[False] | None = Field(default=None, description=UNSUPPORTED)
    top_logprobs: None = Field(default=None, description=UNSUPPORTED)
    tools: Annotated[list[Any], Field(max_length=0)] | None = Field(default=None, description=UNSUPPORTED)
    tool_choice: Literal["none"] | None = Field(default=None, description=UNSUPPORTED)
    response_format: dict[Literal["type"], Literal["text"]] | None = Field(
        default=None, description='other than {"type": "text"} is not supported by this server; leave it out'
    )
