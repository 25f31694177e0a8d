"""Results of a replay and the recording they are of, as files: read, matched, and described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError, TraceError
from paceline.core.files import sha256

if TYPE_CHECKING:
    from paceline.lab.recording.model import Recording
    from paceline.lab.results import Results


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that reports are made from.

    Attributes:
        results: The replay.
        recording: What was replayed; None where it is not there any more.
        missing: Why there is no recording, as a sentence; None where there is one.
        paths: Of the replay, and of the recording or where it should be.
        sha256: Of the recording that was replayed.
    """

    results: Results
    recording: Recording | None
    missing: str | None
    paths: tuple[Path, Path]
    sha256: str

    @property
    def unfinished(self) -> str | None:
        """A sentence where the replay did not end; None where every pass that was asked for is there."""
        if self.results.complete:
            return None
        return (
            f"{self.paths[0]} is of a replay that did not end, with {len(self.results.passes)} passes so far; the same "
            "`paceline replay` goes on with it"
        )

    def source(self, command: str) -> dict[str, str]:
        """Return where the numbers come from, for readers; no path says where on the machine."""
        replay, recording = self.paths
        return {
            "replay": replay.name,
            "recording": recording.name,
            "sha256": self.sha256,
            "command": command,
        }


def read_sources(replay_path: Path, recording_path: Path | None = None) -> Sources:
    """Read a replay and the recording it is of.

    Args:
        replay_path: The replay.
        recording_path: The recording; None takes the one that the replay names, if it is there.

    Raises:
        ConfigError: A file that was asked for is missing, or the recording is another one.
        TraceError: A file is damaged.
    """
    from paceline.lab.recording.reader import read_recording  # noqa: PLC0415 - numpy
    from paceline.lab.results import Results  # noqa: PLC0415

    if not replay_path.is_file():
        raise ConfigError(
            f"there is no replay {replay_path}; make one with `paceline record` and then `paceline replay`, or "
            "name another"
        )
    replay = Results.read(replay_path)
    path = recording_path or Path(str(replay.source.get("path", "")))
    expected = str(replay.source.get("sha256", ""))
    if batch := replay.source.get("batch"):
        alone = f"texts were decoded {batch} at once, so what a recording tells of each alone is left out"
        return Sources(replay, None, alone, (replay_path, path), expected)
    if not path.is_file():
        if recording_path is not None:
            raise ConfigError(
                f"there is no recording {path}; leave out --recording, or name the file that was replayed"
            )
        missing = f"the recording {path} is not there, so what it alone can tell is left out; name it with --recording"
        return Sources(replay, None, missing, (replay_path, path), expected)
    digest = sha256(path, TraceError)
    if expected and digest != expected:
        raise ConfigError(
            f"{replay_path} was made from another recording than {path}: sha256 {expected[:12]}... is wanted, this is "
            f"{digest[:12]}...; replay this one (`paceline replay`), or name the right one with --recording"
        )
    return Sources(replay, read_recording(path), None, (replay_path, path), digest)
