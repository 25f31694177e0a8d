"""Runs of the toy pair that keep what they learn."""

import json

import pytest

import paceline

RUN = {
    "target": {"backend": "toy", "seed": 3},
    "drafts": {"small": {"backend": "toy", "agreement": 0.7}},
    "policy": "online",
    "generation": {"max_new_tokens": 60},
}


class Kept:
    """A state file and runs that use it."""

    def __init__(self, path):
        self.path = path

    def config(self, **parts):
        return paceline.load_config(RUN | {"state": str(self.path)} | parts)

    def load(self, **parts):
        return paceline.load(RUN | {"state": str(self.path)} | parts)

    def learn(self, prompt="the rain", **parts):
        """Generate one text, close the decoder, and return its policy."""
        with self.load(**parts) as decoder:
            decoder.generate(prompt)
        return decoder.policy

    def document(self):
        return json.loads(self.path.read_text())

    def entry(self):
        """Return the only entry."""
        (found,) = self.document()["entries"].values()
        return found

    def key(self):
        (found,) = self.document()["entries"]
        return found

    def aside(self):
        """Return the files that were kept aside."""
        return sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "learnt" / "state.json")
