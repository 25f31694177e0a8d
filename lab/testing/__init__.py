"""Random recordings for tests of the lab: for properties that hold on every one of them."""

from paceline.lab.testing.recordings import lab_recordings

__all__ = ["lab_recordings"]
