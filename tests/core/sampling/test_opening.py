"""Who can sample is opened to sample; who only knows greedy decoding is opened as ever, or refused."""

import pytest

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError
from paceline.core.records import Capabilities
from paceline.core.sampling.settings import Sampling
from paceline.core.testing.scripted import ScriptedPolicy


class Greedy:
    """A target or draft of the time before sampling; writes down what it was asked."""

    def __init__(self, model):
        self._model = model
        self.opened = []

    def __getattr__(self, name):
        if name == "open_sampled":
            raise AttributeError(name)
        return getattr(self._model, name)

    def open(self, prompt):
        self.opened.append(tuple(prompt))
        return self._model.open(prompt)


def decoder(target, draft, **options):
    return SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([2]), **options)


def test_a_draft_that_cannot_sample_is_opened_as_ever():
    target = ToyTarget()
    draft = Greedy(ToyDraft(target))
    done = decoder(target, draft).generate([1, 2], max_new_tokens=8, sampling=Sampling())
    assert draft.opened == [(1, 2)]
    assert done.totals.drafted > 0


@pytest.mark.parametrize("way", ["rounds", "generate", "stream"])
def test_a_target_that_cannot_sample_is_refused_before_anything_is_opened(way):
    target = Greedy(ToyTarget())
    made = decoder(target, ToyDraft(ToyTarget()))
    with pytest.raises(CapabilityError, match="cannot sample; leave sampling out"):
        getattr(made, way)([1, 2], sampling=Sampling())
    assert target.opened == []


def test_a_target_is_believed_when_it_says_that_it_cannot():
    target = ToyTarget(capabilities=Capabilities())
    with pytest.raises(CapabilityError, match="cannot sample"):
        decoder(target, ToyDraft(target), sampling=Sampling())


def test_a_target_that_cannot_sample_decodes_greedily():
    target = Greedy(ToyTarget())
    done = decoder(target, ToyDraft(ToyTarget())).generate(
        [1, 2], max_new_tokens=8, sampling=Sampling(temperature=0.0, seed=9)
    )
    assert target.opened == [(1, 2)]
    assert len(done.tokens) == 8


def test_a_call_may_sample_where_the_decoder_does_not_and_the_other_way_round():
    target = ToyTarget()
    greedy = decoder(target, ToyDraft(target))
    warm = decoder(target, ToyDraft(target), sampling=Sampling(seed=3))
    prompt, most = [1, 2], {"max_new_tokens": 30}
    assert (
        greedy.generate(prompt, sampling=Sampling(seed=3), **most).tokens
        == warm.generate(prompt, **most).tokens
    )
    cold = warm.generate(prompt, sampling=Sampling(temperature=0.0), **most).tokens
    assert cold == greedy.generate(prompt, **most).tokens
    assert cold != warm.generate(prompt, **most).tokens
    streamed = "".join(greedy.stream(prompt, sampling=Sampling(seed=3), **most))
    assert streamed == warm.generate(prompt, **most).text
