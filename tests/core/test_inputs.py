"""Reading: regular files only, never more than is allowed, and every refusal an error of ours with a remedy."""

import contextlib
import os
import socket

import pytest

from paceline.core.errors import ConfigError, TraceError
from paceline.core.inputs import input_lines, open_input, read_input, read_text


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
