"""The figures of a checkout, as far as they are counted without running it."""

from pathlib import Path

import figures

ROOT = Path(__file__).resolve().parents[2]


def test_modules_and_lines_of_a_folder_are_counted(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "one.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "inner" / "two.py").write_text("c = 3\n")
    assert figures.sizes(tmp_path) == (2, 3)


def test_a_policy_is_read_with_what_it_imports_and_the_costs_it_asks():
    auto, ucb = (
        {path.relative_to(ROOT).as_posix() for path in figures.files_of_policy(ROOT, name)}
        for name in ("auto", "ucb")
    )
    assert "core/costs.py" in auto & ucb
    assert any(path.endswith("/auto.py") for path in auto - ucb)
    assert any(path.endswith("/ucb.py") for path in ucb - auto)
