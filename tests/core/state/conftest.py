"""Runs of the toy pair that keep what they learn."""

import contextlib
import json
import sqlite3

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

    def sql(self, statement, *values):
        """Run a statement on the file, and return its rows."""
        with contextlib.closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(statement, values).fetchall()

    def entries(self):
        return {key: json.loads(text) for key, text in self.sql("SELECT * FROM documents")}

    def entry(self):
        """Return the only entry."""
        (entry,) = self.entries().values()
        return entry

    def key(self):
        (key,) = self.entries()
        return key

    def write(self, key, text):
        self.sql("INSERT OR REPLACE INTO documents VALUES (?, ?)", key, text)

    def refused(self):
        """Return what was set aside."""
        return [text for (text,) in self.sql("SELECT document FROM refused")]


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "learnt" / "state.db")
