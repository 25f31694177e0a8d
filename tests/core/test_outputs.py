"""Writing: the path is checked first, whole or not at all, and every refusal an error of ours with a remedy."""

import errno
import os
import stat

import pytest

from paceline.core.errors import ConfigError, PacelineError, TraceError
from paceline.core.outputs import GrowingFile, check_output, write_text


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
