"""Exact distributions of texts: the models' own code decides all but what is left to chance."""

import torch

from paceline.backends.torch.sampling import DeviceRng
from paceline.core.testing.chance import outcomes


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
