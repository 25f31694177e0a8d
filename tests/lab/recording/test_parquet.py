"""A recording as a Parquet file holds the same numbers, row by row."""

import builtins
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pyarrow import parquet
from random_recordings import lab_recordings

from paceline.core.errors import TraceError
from paceline.lab.recording.parquet import export_parquet
from paceline.lab.replay.tables import CostFactors


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lab_recordings())
def test_every_number_is_in_its_row(tmp_path, recording):
    path = tmp_path / "r.parquet"
    expected = sum(len(text.tokens) * len(text.drafts) for text in recording)
    assert export_parquet(recording, path) == expected
    table = parquet.read_table(path)
    assert table.num_rows == expected
    rows = iter(table.to_pylist())
    for text in recording:
        for name, starts in text.drafts.items():
            for start, token in enumerate(text.tokens):
                row = next(rows)
                assert (row["text"], row["kind"], row["draft"]) == (text.name, text.kind, name)
                assert (row["start"], row["token"]) == (start, token)
                assert (row["offered"], row["agreed"]) == (starts.offered[start], starts.agreed[start])
                assert row["match_length"] == (
                    None if starts.match_lengths is None else starts.match_lengths[start]
                )
                assert row["chance"] == (
                    None
                    if starts.acceptance_probs is None
                    else pytest.approx(float(starts.acceptance_probs[start]))
                )
                changes = CostFactors(text, recording.header.drafts)
                assert row["draft_factor"] == changes.drafts[name][start]
                assert row["verify_factor"] == changes.verify[start]
                assert row["verify_token_s"] == changes.token_s[start]
                for signal, values in starts.signals.items():
                    told = values[start, : starts.offered[start]]
                    assert np.array_equal(np.array(row[f"signal_{signal}"], values.dtype), told)
    about = json.loads(table.schema.metadata[b"paceline"])
    assert about["longest"] == recording.header.longest
    assert about["costs"] == json.loads(json.dumps(recording.header.costs.to_json()))


def test_without_pyarrow_the_remedy_is_told(tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TraceError, match=r"pip install '\.\[parquet\]'"):
        export_parquet(None, tmp_path / "r.parquet")
