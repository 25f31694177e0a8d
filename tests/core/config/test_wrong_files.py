"""Each file in wrong/ ends with the complete message it must provoke, one `# expect:` comment a line."""

import shutil
from pathlib import Path

import pytest

from paceline import load_config
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue

FILES = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
EXPECT = "# expect: "


def message(source: Path, catalogue: Catalogue) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, catalogue=catalogue)
    return str(caught.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_wrong_file_is_refused_with_file_line_path_and_remedy(
    file: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    expected = [
        line.removeprefix(EXPECT) for line in file.read_text().splitlines() if line.startswith(EXPECT)
    ]
    assert expected, "the file says nothing about what it expects"
    assert message(Path(file.name), catalogue).splitlines() == expected


def test_there_are_enough_wrong_files() -> None:
    assert len(FILES) >= 40


def test_a_missing_file_is_named(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = "nowhere.yaml: no such file; give the path of a run file, or none for the defaults"
    assert message(Path("nowhere.yaml"), catalogue) == expected


def test_a_folder_is_not_a_file(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").mkdir()
    assert message(Path("run.yaml"), catalogue) == "run.yaml: is a folder; name a file"


def test_a_file_in_another_encoding_is_refused(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_bytes("trace: café".encode("latin-1"))
    assert message(Path("run.yaml"), catalogue) == "run.yaml:1: not UTF-8 (byte 10); save it in that encoding"


def test_a_file_nested_beyond_reason_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("policy: " + "[" * 5000 + "]" * 5000)
    assert (
        message(file, catalogue) == f"{file}: nested too deeply, or holds itself; a run has at most 64 levels"
    )


def test_a_policy_nested_in_itself_in_python_is_refused(catalogue: Catalogue) -> None:
    policy: dict[str, object] = {"name": "select"}
    policy["length"] = policy
    with pytest.raises(ConfigError, match="nested too deeply, or holds itself"):
        load_config({"policy": policy}, catalogue=catalogue)


def test_the_same_file_without_its_fault_loads(catalogue: Catalogue, tmp_path: Path) -> None:
    """Guards the table: the catalogue of these tests does accept a correct file that uses all of it."""
    file = tmp_path / "run.yaml"
    shutil.copy(Path(__file__).parent / "right.yaml", file)
    config = load_config(file, catalogue=catalogue)
    assert list(config.drafts) == ["small", "lookup"]
