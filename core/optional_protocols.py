"""Optional protocols: the loop looks for each with isinstance, and goes without what an object lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from paceline.core.protocols import Proposal, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Draft, DraftSession, TargetSession
    from paceline.core.records import Plan, RoundStart
    from paceline.core.sampling import Sampling


@runtime_checkable
class SupportsMatchLength(Protocol):
    """A draft session that knows before it drafts how long a match it has."""

    @property
    def match_length(self) -> int:
        """The length of its match, a whole number; 0 means that there is nothing to propose.

        Read once a round, before the plan; finding it must cost next to nothing.
        """
        ...


@runtime_checkable
class SupportsScoring(Protocol):
    """A draft session that can say what it would have made of tokens it did not propose.

    A target session that draws its tokens may say so as well; only recordings ask it.
    """

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Return one number for each of `tokens`, which follow the context; see `Round.scores`.

        Called after the verification and before `advance`, at most once a round, only if `Plan.score` asks for it and
        the draft did not draft itself. May read the context, so that the lag is gone afterwards. A recording asks a
        session that does nothing else, of drafts and of the target, before each `advance`. A target answers with the
        probability that it would have drawn each token after those before it.
        """
        ...


@runtime_checkable
class Memoryless(Protocol):
    """A draft session whose next token depends on nothing but the tokens before it; models are like that.

    Whether it drafted those tokens itself, in which rounds, and how many it was asked for makes no difference; where
    tokens are drawn, none to the distribution. What it proposes from one place then tells what it proposes from all
    places up to its first error, so that recording it takes a fraction of the time. A recording may ask such a session
    to draft again from the same place, and deliver less than the target agreed with.
    """

    @property
    def memoryless(self) -> bool:
        """True if this is so."""
        ...


class TreeProposal(Proposal, Protocol):
    """A tree of draft tokens waiting for verification, as `TokenTree` holds one on the host.

    Its length is its number of tokens. Until it was verified, nobody but the target asks for `parents` and `tokens` of
    a proposal that is an `AsyncProposal`.
    """

    @property
    def parents(self) -> Sequence[int]:
        """For each token the number of the one it follows, which comes before it; -1 is the last of the context."""
        ...


class TreeVerdict(Verdict, Protocol):
    """The target's answer to a tree, as `PathVerdict` holds it."""

    @property
    def path(self) -> Sequence[int]:
        """Numbers of the accepted nodes, the first one first: `accepted` of them, each a child of the one before."""
        ...


@runtime_checkable
class SupportsTrees(Protocol):
    """A draft session that can propose several tokens for one place; without, a plan of a tree drafts its chain."""

    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TreeProposal:
        """Propose a tree of at most `nodes` tokens, `gamma` in depth, and `width` that follow the same one.

        Called in the place of `draft` where `Plan.nodes` is not 0. D1: fewer where nothing better is known. D2:
        `control` asks about the first token of each level; False, or a threshold, ends the tree with that level, and
        `signals` has one record a level. D3: every token that was sampled is in the tree, whatever it was: where the
        next one is drawn may depend on those drawn before, but none is dropped. Siblings are different, and stand in
        the order they were drawn in.
        """
        ...


@runtime_checkable
class SupportsTreeVerification(Protocol):
    """A target session that verifies a tree in one forward pass, each token seeing those on its way alone.

    Its target says in `Capabilities.nodes` how many tokens that can be; sessions that draw have this method as well.
    """

    def verify_tree(self, proposal: TreeProposal) -> TreeVerdict:
        """Find the path through a tree that the target itself would have taken, and one more token of its own.

        Called in the place of `verify` for what `draft_tree` proposed, at least one token. V2: `accepted`, `tokens` and
        `path` as in `TreeVerdict`. There must be room for the whole tree, also where the longest text ends.
        """
        ...


@runtime_checkable
class SupportsPerplexity(Protocol):
    """A target that can tell how surprising a prompt is to it."""

    def perplexity(self, prompt: Sequence[int]) -> float | None:
        """Return exp of the mean negative log probability of the tokens after the first; None for a single token.

        Called once a request, before its first round, only for policies whose `requires.perplexity` is set.
        """
        ...


@runtime_checkable
class SampledTarget(Protocol):
    """A target that can draw its tokens; it says so in its capabilities as well."""

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> TargetSession:
        """Start a request whose tokens are drawn; like `open` otherwise.

        What `verify` delivers must be distributed as the target's own draws after `sampling`, whatever was proposed:
        see `paceline.core.rejection_sampling`. All randomness comes from `sampling.seed`.
        """
        ...


@runtime_checkable
class SampledDraft(Protocol):
    """A draft that can draw its tokens; its proposals then carry what each was drawn from, as `SampledProposal` does.

    A draft without this method proposes what it takes for likeliest also where the target draws, which is lossless.
    """

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> DraftSession:
        """Start a request whose tokens are drawn; like `open` otherwise.

        Each token comes from the draft's distribution after `sampling`, and every token drawn is in the proposal.
        All randomness comes from `sampling.seed`.
        """
        ...


@runtime_checkable
class SupportsPrefixReuse(Protocol):
    """A target or draft that can go on from what an earlier request has read, where both begin with the same tokens."""

    def keep_prefixes(self, count: int) -> Self:
        """Return the same model, whose closed sessions keep at most `count` caches for its later requests.

        Called when a decoder is built that shall keep some, and `count` is at least 1. The model itself keeps none,
        so that other decoders on it read every prompt. A cache is never with two sessions, and of a prompt the last
        token at least is read anew. What a session answers must not depend on whether a cache was kept for it.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """A draft that remembers what earlier requests delivered."""

    def forgetful(self) -> Draft:
        """Return the same draft without memory: it knows the request at hand alone, and adds to nothing.

        Recordings and benches ask for it once. They decode a prompt again and again, and what a draft remembered of the
        time before would be the very text.
        """
        ...


@runtime_checkable
class Identified(Protocol):
    """A target or draft that can say which one it is; without, its block of the run file stands for it."""

    @property
    def identity(self) -> str:
        """One line: model, version or hash, number format, kind of device.

        What a policy learnt is kept under it (see docs/state.md), so it must differ wherever acceptance or times
        might, and be the same in every process for the same thing. Read when a decoder is built.
        """
        ...


@runtime_checkable
class Tabulated(Protocol):
    """A cost model that prices every length of a round at once, for less than one by one."""

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the expected seconds of rounds of 0, 1, ..., `longest` tokens or more, and what each takes besides.

        The second is what `context` adds. The sum for gamma is `draft_s(draft, gamma) + verify_s(gamma + 1, context)`.
        """
        ...


@runtime_checkable
class TreePriced(Protocol):
    """A cost model that learns what trees take apart from chains: a level is wide, and its pass has a mask."""

    def draft_tree_s(self, draft: str, depth: int) -> float:
        """Return the expected seconds to draft a tree of a depth; those of `draft_s` at first."""
        ...

    def verify_tree_s(self, nodes: int, context: int) -> float:
        """Return the expected seconds to verify a tree of so many tokens; `verify_s` of one token more at first."""
        ...


@runtime_checkable
class Dated(Protocol):
    """A cost model that knows how old its prices are."""

    def age(self, length: int) -> float:
        """Return the rounds since a block of `length` tokens was timed; infinite where its price is in doubt.

        It is in doubt if it was never timed, or if others have jumped since and it may have jumped with them or not.
        """
        ...


@runtime_checkable
class Mergeable(Protocol):
    """A policy whose knowledge is additive sufficient statistics, so that replicas can pool it."""

    def export(self) -> dict[str, float]:
        """Return the statistics gathered by this instance; sums of two exports mean both experiences."""
        ...

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the statistics of another instance."""
        ...


@runtime_checkable
class Shareable(Mergeable, Protocol):
    """A mergeable policy that takes what a whole group knows in the place of its own, again and again.

    To share exactly, its sums must not fade by themselves (`discount: 1` and the like): whoever pools them forgets,
    once for all. A sum that shrank between two calls of `replace` is a breach.
    """

    @property
    def timed(self) -> bool:
        """True if its statistics hold times, so that they mean nothing on other hardware."""
        ...

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put `statistics` in the place of everything that `export` tells, and leave all else as it is.

        Called between two rounds, often; afterwards `export` returns `statistics`, but for zeros and for what `absorb`
        leaves out. Raises ValueError as `absorb` does; then nothing is changed.
        """
        ...


@runtime_checkable
class SupportsChat(Protocol):
    """A codec that knows how its target's conversations are written, if it was trained for any."""

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> list[int] | None:
        """Return the tokens of a conversation up to where the answer begins, or None without a chat template.

        Args:
            messages: Each with `role` and what else the template reads, mostly `content`.
            options: More that the template reads, such as `tools`.
        """
        ...


@runtime_checkable
class BatchTarget(Protocol):
    """A target that verifies the proposals of many requests at once; without, or where it shares no passes, in turn.

    Where it shares none, it may say why as `unshared`, for the one line that is logged of it.
    """

    @property
    def shares_passes(self) -> bool:
        """True if this takes less time than verifying one after the other."""
        ...

    def verify_batch(
        self, sessions: Sequence[Any], proposals: Sequence[Proposal | None]
    ) -> Sequence[Verdict | BaseException]:
        """Verify a proposal for each of several sessions of this target, whose tokens may be drawn or not.

        Each answer is what `verify` of that session would have returned, or the exception that it would have raised:
        a session that fails costs the others nothing.
        """
        ...


@runtime_checkable
class BatchDraft(Protocol):
    """A draft that drafts for many requests at once; without, or where it shares no passes, in turn."""

    @property
    def shares_passes(self) -> bool:
        """True if this takes less time than drafting for one after the other."""
        ...

    def draft_batch(
        self, sessions: Sequence[Any], gammas: Sequence[int], controls: Sequence[DraftControl | None]
    ) -> Sequence[Proposal | BaseException]:
        """Draft for each of several sessions of this draft, so many tokens and under such control as each is given.

        Each answer is what `draft` of that session would have returned, or the exception that it would have raised.
        """
        ...


@runtime_checkable
class BatchPolicy(Protocol):
    """A policy that plans for several requests at once."""

    def plan_batch(self, starts: Sequence[RoundStart]) -> Sequence[Plan]:
        """Return a plan for each request of the round that starts now, in their order.

        Called in the place of `plan` where this policy serves several requests that share their passes; the costs of
        each start are `BatchPriced` then. Afterwards `observe` is called once for each request.
        """
        ...


@runtime_checkable
class BatchPriced(Protocol):
    """A cost model of a round that several requests take together."""

    def pass_s(self, drafted: int) -> tuple[Sequence[float], float]:
        """Return the expected seconds of verifying 0, 1, ..., `drafted` draft tokens or more of all requests together.

        The second number is what their context adds to each. Beside the draft tokens each request has one of its own.
        """
        ...

    def draft_pass_s(self, draft: str) -> tuple[float, float]:
        """Return the expected seconds of one step of a draft, and what each token drafted in it takes besides."""
        ...
