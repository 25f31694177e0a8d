"""What processes of one user leave for each other lies where nobody else can put something in its place."""

from pathlib import Path

import pytest

from paceline import private_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "paceline"


def test_the_folder_is_the_users_own(cache: Path) -> None:
    folder = private_folder("hub")
    assert folder == cache / "hub" == private_folder("hub")
    assert [each.stat().st_mode & 0o777 for each in (cache, folder)] == [0o700, 0o700]


def test_a_folder_that_others_can_write_to_is_refused(cache: Path) -> None:
    private_folder("hub").chmod(0o777)
    with pytest.raises(PermissionError, match="nobody else can write to"):
        private_folder("hub")


def test_a_link_in_its_place_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.mkdir()
    (cache / "hub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="must be a folder"):
        private_folder("hub")


def test_without_a_home_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        private_folder("hub")
