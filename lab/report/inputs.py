"""A replay and its recording, as files: found, matched, and described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError, TraceError
from paceline.core.files import sha256

if TYPE_CHECKING:
    from paceline.lab.recording.model import Recording
    from paceline.lab.replay.results import Replay


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a report is made from.

    Attributes:
        replay: The replay.
        recording: What was replayed; None where it is not there any more.
        missing: Why there is no recording, as a sentence; None where there is one.
        paths: Of the replay, and of the recording or where it should be.
        sha256: Of the recording that was replayed.
    """

    replay: Replay
    recording: Recording | None
    missing: str | None
    paths: tuple[Path, Path]
    sha256: str

    def source(self, command: str) -> dict[str, str]:
        """Return where the numbers come from, for readers; no path says where on the machine."""
        replay, recording = self.paths
        return {
            "replay": replay.name,
            "recording": recording.name,
            "sha256": self.sha256,
            "command": command,
        }


def read_inputs(replay_path: Path, recording_path: Path | None = None) -> Inputs:
    """Read a replay and the recording it is of.

    Args:
        replay_path: The replay.
        recording_path: The recording; None takes the one that the replay names, if it is there.

    Raises:
        ConfigError: A file that was asked for is missing, or the recording is another one.
        TraceError: A file is damaged.
    """
    from paceline.lab.recording.reader import read_recording  # noqa: PLC0415 - numpy
    from paceline.lab.replay.store import read_replay  # noqa: PLC0415

    if not replay_path.is_file():
        raise ConfigError(
            f"there is no replay {replay_path}; make one with `paceline record` and then `paceline replay`, or "
            "name another"
        )
    replay = read_replay(replay_path)
    path = recording_path or Path(str(replay.recording.get("path", "")))
    wanted = str(replay.recording.get("sha256", ""))
    if not path.is_file():
        if recording_path is not None:
            raise ConfigError(
                f"there is no recording {path}; leave out --recording, or name the file that was replayed"
            )
        missing = f"the recording {path} is not there, so what it alone can tell is left out; name it with --recording"
        return Inputs(replay, None, missing, (replay_path, path), wanted)
    found = sha256(path, TraceError)
    if wanted and found != wanted:
        raise ConfigError(
            f"{replay_path} was made from another recording than {path}: sha256 {wanted[:12]}... is wanted, this is "
            f"{found[:12]}...; replay this one (`paceline replay`), or name the right one with --recording"
        )
    return Inputs(replay, read_recording(path), None, (replay_path, path), found)
