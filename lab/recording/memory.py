"""Texts of a recording that are held in memory: made up, or read as a whole because they are few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.errors import TraceError
from paceline.lab.recording.model import Text, TextSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class TextsInMemory(TextSource):
    """A list of texts, which can be asked for by name.

    Raises:
        TraceError: Two texts have the same name.
    """

    def __init__(self, texts: Iterable[Text]) -> None:
        self._texts: dict[str, Text] = {}
        for text in texts:
            if text.name in self._texts:
                raise TraceError(f"two texts are called {text.name!r}; the names of a recording must differ")
            self._texts[text.name] = text

    def __iter__(self) -> Iterator[Text]:
        """Return the texts from the first to the last."""
        return iter(self._texts.values())

    def __getitem__(self, name: str) -> Text:
        """Return one text.

        Raises:
            TraceError: There is none of that name.
        """
        try:
            return self._texts[name]
        except KeyError:
            raise TraceError(
                f"the recording has no text {name!r}; it has {len(self._texts)} others"
            ) from None

    def names(self) -> Sequence[str]:
        """Return the names in the order of the recording."""
        return tuple(self._texts)
