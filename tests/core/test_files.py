"""Reading and writing files: regular ones only, of bounded size, as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from paceline import private_folder
from paceline.core.errors import ConfigError, PacelineError, TraceError
from paceline.core.files import (
    GrowingFile,
    check_output,
    input_lines,
    open_input,
    read_input,
    read_text,
    write_text,
)


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:  # names of sockets are short
        bound.bind(path.name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "is a device, a pipe or a socket; name a regular file"),
        (listening, "is a device, a pipe or a socket; name a regular file"),
        (lambda path: path.mkdir(), "is a folder; name a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, a pipe or a socket; name a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "no such file; check the name"),
        (lambda path: None, "no such file; check the name"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make, message):
    path = tmp_path / "input"
    make(path)
    for raising in (ConfigError, TraceError):
        with pytest.raises(raising) as caught:
            open_input(path, raising)
        assert str(caught.value).startswith(f"{path}: {message}")


def test_a_path_with_nul_is_refused_and_shown_harmlessly(tmp_path):
    with pytest.raises(ConfigError, match=r"a\\x00b': no path holds the character NUL; remove it"):
        read_input(f"{tmp_path}/a\0b", ConfigError, most=9)


def test_no_more_is_read_than_is_allowed(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"x" * 2048)
    assert read_input(path, ConfigError, most=2048) == b"x" * 2048
    with pytest.raises(ConfigError, match="has more than 1 KiB, the most that is read here"):
        read_input(path, ConfigError, most=1024)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    assert read_text(path, ConfigError, most=99) == "one\ntwo\n"
    path.write_bytes(b"one\ntw\xff\n")
    with pytest.raises(ConfigError, match=r"input:2: not UTF-8 \(byte 6\)"):
        read_text(path, ConfigError, most=99)


def test_lines_end_at_a_newline_alone_and_have_a_bound(tmp_path):
    path = tmp_path / "input"
    path.write_bytes("a\u2028b\rc\nlast".encode())
    with path.open("rb") as file:
        lines = list(input_lines(file, path, TraceError, most=99))
    assert lines == [(1, "a\u2028b\rc\n".encode()), (2, b"last")]
    path.write_bytes(b"short\n" + b"x" * 2000)
    with path.open("rb") as file, pytest.raises(TraceError, match="input:2: this line has more than 1 KiB"):
        list(input_lines(file, path, TraceError, most=1024))


@pytest.fixture
def full(monkeypatch):
    """Let every write fail after some bytes, as on a full disk."""
    write = os.write

    def some(file, data):
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", some)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a device, a pipe or a socket; name a regular file"),
        (os.mkdir, "is a folder; name a file"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, a pipe or a socket; name a regular file"),
        (lambda path: path.symlink_to(path), "cannot be written: Too many levels of symbolic links"),
        (lambda path: path.symlink_to(__file__ + "/x"), "is no folder; give another path"),
    ],
)
def test_what_no_regular_file_can_be_written_to_is_refused_and_stays(tmp_path, make, message):
    path = tmp_path / "output"
    make(path)
    before = path.lstat()
    for write in (
        check_output,
        lambda path: write_text(path, "x"),
        lambda path: GrowingFile(path, TraceError),
    ):
        with pytest.raises(PacelineError) as caught:
            write(path)
        assert message in str(caught.value)
        assert str(caught.value).startswith(str(path))
    assert os.path.samestat(before, path.lstat())


def test_a_path_inside_a_file_or_with_nul_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is no folder; give another path"):
        check_output(tmp_path / "file" / "deep" / "output")
    with pytest.raises(ConfigError, match="NUL"):
        check_output(f"{tmp_path}/a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="nothing may be written in"):
        check_output(tmp_path / "deep" / "output")


def test_an_input_is_not_written_over_under_any_name(tmp_path):
    source, link = tmp_path / "source", tmp_path / "link"
    source.write_text("precious")
    os.link(source, link)
    for path in (source, link, tmp_path / "." / "source"):
        with pytest.raises(ConfigError, match="is also read here"):
            check_output(path, inputs=[source])
    check_output(tmp_path / "other", inputs=[source, tmp_path / "nowhere"])


def test_a_text_is_written_in_one_step_with_folders_links_and_permissions(tmp_path):
    path, link = tmp_path / "deep" / "output", tmp_path / "link"
    link.symlink_to(path)
    write_text(link, "one")
    path.chmod(0o640)
    write_text(link, "two")
    assert (path.read_text(), link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == ("two", True, 0o640)
    assert [one.name for one in path.parent.iterdir()] == ["output"]


def test_a_full_disk_leaves_the_old_text_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "output"
    path.write_text("old")

    def refuse(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(PacelineError, match="output: cannot be written: No space left on device; make room"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["output"]


def test_a_link_laid_where_the_new_text_is_prepared_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".output.new").symlink_to(victim)
    write_text(tmp_path / "output", "new")
    assert (victim.read_text(), (tmp_path / "output").read_text()) == ("precious", "new")


def test_a_growing_file_begins_anew_or_goes_on(tmp_path):
    path = tmp_path / "deep" / "output"
    for keep, expected in ((0, b"one\n"), (None, b"one\none\n"), (4, b"one\none\n"), (0, b"one\n")):
        with GrowingFile(path, TraceError, keep=keep) as file:
            file.append(b"one\n")
        assert path.read_bytes() == expected
    with pytest.raises(TraceError, match="closed already"):
        file.append(b"x")


def test_a_piece_that_does_not_fit_is_taken_back(tmp_path, full):
    path = tmp_path / "output"
    path.write_bytes(b"one\n")
    with GrowingFile(path, TraceError, keep=None, remedy="do this") as file:
        with pytest.raises(TraceError, match="output: cannot be written: No space left on device; do this"):
            file.append(b"a longer piece\n")
        assert path.read_bytes() == b"one\n"


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
