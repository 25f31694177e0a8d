"""Exact distributions of texts: the models' own code decides all but what is left to chance."""

import math
from collections import Counter
from dataclasses import replace

import torch

from paceline.backends.torch.sampling import DeviceRng
from paceline.core.sampling import Sampling
from paceline.core.testing.enumeration import outcomes


def every_outcome(run, monkeypatch):
    """Return the exact distribution of what `run` returns, over every way that draws on the device can fall."""
    rng = None

    def draw(self, weights):
        return torch.tensor([rng.draw(row) for row in weights.tolist()])

    def accept(self, target_probs, draft_probs):
        agreed = []
        for target_prob, draft_prob in zip(target_probs.tolist(), draft_probs.tolist(), strict=True):
            # What comes after a refusal is not looked at, so it need not be drawn for. Beyond the proposal nothing is
            # stated, and whatever falls there is masked.
            agreed.append(all(agreed) and (not draft_prob or rng.accept(min(1.0, target_prob / draft_prob))))
        return torch.tensor(agreed)

    monkeypatch.setattr(DeviceRng, "draw", draw)
    monkeypatch.setattr(DeviceRng, "accept", accept)

    def under(source):
        nonlocal rng
        rng = source
        return run()

    return outcomes(under)


def texts(length, next_probs):
    """Return the distribution of the first `length` tokens, where `next_probs` gives that of one token after others."""
    found = {(): 1.0}
    for _ in range(length):
        longer = {}
        for text, probability in found.items():
            probs = next_probs(text)
            longer |= {(*text, token): probability * prob for token, prob in enumerate(probs) if prob}
        found = longer
    return found


def apart(left, right):
    """Return the largest difference between two distributions."""
    return max(abs(left.get(text, 0.0) - right.get(text, 0.0)) for text in left.keys() | right.keys())


DRAWN = Sampling(temperature=3.0, top_k=3, top_p=0.95)


def distance_of_draws(decoder, prompt, target_probs, total):
    """Return the chi-square of real draws of two tokens against their distribution, and what it may be at most."""
    counts = Counter(
        decoder.generate(prompt, max_new_tokens=2, sampling=replace(DRAWN, seed=seed)).tokens
        for seed in range(total)
    )
    freedom = len(target_probs) - 1
    # Beyond this lies about one in a thousand: the normal approximation of Wilson and Hilferty (1931).
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    if not counts.keys() <= target_probs.keys():
        return math.inf, limit  # a text that the target never writes
    shares = {text: total * share for text, share in target_probs.items()}
    return sum((counts[text] - share) ** 2 / share for text, share in shares.items()), limit
