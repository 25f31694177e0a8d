"""State files of 0.1, which were JSON."""

import json
import subprocess
import sys

import pytest

from paceline.core.errors import PacelineError
from paceline.core.state.convert import convert


def test_what_a_file_of_0_1_holds_is_copied_and_what_is_there_stays(kept, tmp_path):
    before = kept.learn()
    key, entry = kept.key(), kept.entry()
    old, new = tmp_path / "old.json", tmp_path / "new" / "learnt.db"
    entries = {key: entry, "other": {"about": {}}}
    old.write_text(json.dumps({"kind": "paceline-state", "version": 1, "entries": entries}))
    command = [sys.executable, "-Im", "paceline.core.state.convert", str(old), str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2 entries copied\n"
    assert kept.load(state=str(new)).policy.state_dict() == before.state_dict()
    kept.path = new
    kept.write(key, "{}")
    assert convert(old, new) == 2
    assert kept.entries() == {key: {}, "other": {"about": {}}}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"kind": "trace"}', '{"kind": "paceline-state", "version": 2, "entries": {}}']
)
def test_what_is_no_such_file_is_refused(tmp_path, text):
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(PacelineError, match=r"old\.json: "):
        convert(tmp_path / "old.json", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
