"""`paceline record --synthetic` as a user runs it."""

import json

from paceline.lab.recording.reader import read_recording
from paceline.lab.workloads.changing import KINDS
from paceline.lab.workloads.synthetic import cells, made_up


def test_one_cell_is_written_and_read_back_as_it_was_made(cli):
    out = cli.file("cell.jsonl", "")
    cli.call("record", "--synthetic", "drift-0.12", "-o", out, "--limit", 3, "-n", 50, "--longest", 6, code=0)
    found, made = read_recording(out), made_up(*cells("drift-0.12"), texts=3, tokens=50, longest=6)
    assert found.header.made_up
    assert found.complete
    assert found.header.costs == made.header.costs
    for one, other in zip(found, made, strict=True):
        assert (one.name, one.kind, one.tokens, one.max_new_tokens) == (
            other.name,
            other.kind,
            other.tokens,
            other.max_new_tokens,
        )
        assert one.drafts["draft"].agreed.tolist() == other.drafts["draft"].agreed.tolist()


def test_record_replay_regret_and_report_find_each_other_s_files(cli):
    cli.call("record", "--synthetic", "steady-0.8-0.04", "--limit", 4, "-n", 40, code=0)
    cli.call("replay", "--policies", "static-2,online", "--seeds", 1, "--jobs", 1, code=0)
    assert "online" in cli.call("regret", code=0).stdout
    assert "online" in cli.call("report", code=0).stdout
    assert (cli.folder / "runs" / "report.html").is_file()
    assert "--force" in cli.call("record", "--synthetic", "steady-0.8-0.04", code=1).stderr


def test_all_cells_go_into_a_folder_and_are_not_replaced_unasked(cli, tmp_path):
    folder = tmp_path / "cells"
    call = ("record", "--synthetic", "all", "-o", folder, "--limit", 1, "-n", 20)
    found = json.loads(cli.call(*call, "--json", code=0).stdout)
    assert len(found["cells"]) == len(list(folder.iterdir())) == 12 + len(KINDS)
    assert "--force" in cli.call(*call, code=1).stderr
    cli.call(*call, "--force", code=0)


def test_options_that_need_a_model_are_refused(cli):
    done = cli.call("record", "--synthetic", "all", "--drafts", "small", "--temperature", "1", code=2)
    assert "leave out --temperature, --drafts" in done.stderr
    assert "regimes-0.12" in cli.call("record", "--synthetic", "regimes", code=2).stderr
