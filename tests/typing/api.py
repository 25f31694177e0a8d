"""Code of users and plugin authors, as mypy must accept it. Nothing here is run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import paceline
from paceline import (
    AnyPolicy,
    AsyncDecoder,
    Conversation,
    Draft,
    DraftSession,
    Generation,
    Mergeable,
    ObservedRequest,
    Plan,
    Policy,
    PolicyConfig,
    Requirements,
    Round,
    RoundStart,
    SampledDraft,
    Sampling,
    Signal,
    SpeculativeDecoder,
    StopRule,
    Target,
    TokenSignals,
    hookimpl,
)
from paceline.testing import check_policy


class Coin:
    """A policy with plain attributes where the protocol has properties."""

    needs: frozenset[Signal] = frozenset({"top1"})
    requires = Requirements()

    def plan(self, start: RoundStart) -> Plan:
        name = next(iter(start.drafts), None)
        return Plan(start.gammas(4)[-1], name, stop=StopRule("entropy", above=2.5))

    def keep_drafting(self, signals: TokenSignals) -> bool:
        return signals.value("top1") > 0.5

    def observe(self, done: Round) -> None:
        del done

    def state_dict(self) -> dict[str, Any]:
        return {"version": 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        del state


class CoinConfig(PolicyConfig):
    name: Literal["coin"] = "coin"
    other: AnyPolicy

    def build(self, seed: int = 0) -> Policy:
        return Coin() if seed else self.other.build(seed)


@hookimpl
def register_policies() -> Iterable[type[PolicyConfig]]:
    return [CoinConfig]


def own_loop(target: Target, drafts: Mapping[str, Draft]) -> list[int]:
    decoder = SpeculativeDecoder(target, drafts, Coin, on_policy_error="fallback")
    tokens: list[int] = []
    for done in decoder.rounds("text", max_new_tokens=10):
        tokens.extend(done.tokens)
    return tokens


def from_a_file(path: Path) -> str:
    decoder = paceline.load(path, policy="static", trace="today.jsonl")
    done: Generation = decoder.generate([1, 2, 3], stop=[lambda output: output[-1] == 7, "END"])
    done = decoder.generate([1, 2, 3], stop="END")
    if isinstance(decoder.policy, Mergeable):
        decoder.policy.absorb(decoder.policy.export())
    return done.text or "".join(decoder.stream("text"))


def checked() -> None:
    check_policy(CoinConfig(other="static"))  # type: ignore[arg-type]  # a bare name is for run files
    check_policy(Coin, drafts=("a", "b"))


def draw(decoder: SpeculativeDecoder, draft: Draft) -> DraftSession:
    decoder.generate("the rain", sampling=Sampling(temperature=0.8, top_p=0.95, seed=7))
    if isinstance(draft, SampledDraft):
        return draft.open_sampled([1], Sampling(top_k=5))
    return draft.open([1])


def talk(decoder: SpeculativeDecoder) -> str:
    conversation: Conversation = decoder.conversation("be brief", template={"tools": []}, max_new_tokens=20)
    rounds = list(conversation.rounds("hello", stop="END"))
    conversation.messages.append({"role": "tool", "content": "noon"})
    again = conversation.retry(sampling=Sampling(temperature=0.8), on_round=rounds.append)
    answer: Generation = decoder.chat([*conversation.messages, {"role": "user", "content": "and now?"}])
    return (answer.text or "") + "".join(conversation.stream("bye")) + (again.text or "") * rounds[0].accepted


class Watcher:
    """An observer without a base class."""

    def on_start(self, request: ObservedRequest) -> None: ...

    def on_round(self, request: ObservedRequest, done: Round) -> None: ...

    def on_end(self, request: ObservedRequest, error: BaseException | None) -> None: ...


async def in_a_service(path: Path) -> str:
    async with AsyncDecoder(paceline.load_config(path).build(observer=Watcher())) as decoder:
        gammas = [done.plan.gamma async for done in decoder.rounds([1, 2], deadline_s=sum((1.0, 2.0)))]
        done: Generation = await decoder.generate(
            await decoder.encode_chat([{"role": "user", "content": "x"}])
        )
        pieces = [piece async for piece in decoder.stream("text", stop="END")]
        return (done.text or "") + "".join(pieces) * gammas[0]
