"""Under sampling, whatever a signal stops, the text is distributed as the target's own: counted out, not estimated."""

import pytest

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.sampling import Sampling
from paceline.policies.baselines.adaedl import AdaEdlConfig
from paceline.policies.baselines.cached_fsm import CachedFsmConfig
from paceline.policies.baselines.confidence import ConfidenceConfig
from paceline.policies.baselines.svip import SvipConfig
from paceline.policies.static import StaticConfig
from paceline.testing import outcomes

PROMPT = [1, 2, 1, 2, 3, 1]
POLICIES = [  # each stops at once after some texts and never after others: above 0.75 nats, say
    ConfidenceConfig(threshold=0.5),
    SvipConfig(threshold=0.3354),
    AdaEdlConfig(first_threshold=0.613, step=1.0, threshold_memory=0.0),
    CachedFsmConfig(first_gamma=1, ngram=2),
]


def distribution(config, seed, lengths=None):
    """Return the distribution of texts of 4 tokens, and note how many tokens rounds of gamma 3 drafted."""

    def run(rng):
        target = ToyTarget(seed=seed, vocabulary=4, rng=lambda _: rng)
        drafts = {"draft": ToyDraft(target, agreement=0.5)}
        decoder = SpeculativeDecoder(target, drafts, config.build(), sampling=Sampling())
        rounds = list(decoder.rounds(PROMPT, max_new_tokens=4))
        if lengths is not None:
            lengths.update(done.drafted for done in rounds if done.plan.gamma == 3)
        return tuple(token for done in rounds for token in done.tokens)

    return outcomes(run)


@pytest.mark.parametrize("config", POLICIES, ids=lambda config: config.name)
def test_the_first_tokens_are_distributed_as_the_targets_own(config):
    lengths = set()
    for seed in range(3):
        found = distribution(config, seed, lengths)
        assert found == pytest.approx(distribution(StaticConfig(gamma=0), seed), abs=1e-12)
    assert {1, 3} <= lengths  # some rounds were stopped at once and some never
