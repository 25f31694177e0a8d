"""Colours that one drawing uses twice: stand-ins that become CSS variables, with values for light and dark.

Hues are told apart by people with any of the common kinds of colour blindness (after Okabe and Ito,
https://jfly.uni-koeln.de/color/), darkened or lightened until each has a contrast of 4.5 to the paper, which WCAG 2.2
asks of text (success criterion 1.4.3); a test works the contrasts out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colour:
    """One role of colour.

    Attributes:
        stand_in: What drawings are made with; no other colour of a drawing is like it.
        light, dark: What is seen.
    """

    stand_in: str
    light: str
    dark: str


PALETTE: Mapping[str, Colour] = {
    "paper": Colour("#fefdf1", "#fffefb", "#16181c"),
    "ink": Colour("#010203", "#1d1f24", "#e9e6df"),
    "soft": Colour("#525456", "#5a5e66", "#a6a9b0"),
    "rule": Colour("#d1d2d3", "#d9d6ce", "#393d45"),
    "blue": Colour("#0102f1", "#0a5c9e", "#74b6f2"),
    "orange": Colour("#f10203", "#b2450c", "#f79b5f"),
    "green": Colour("#01f103", "#0b6e50", "#4fc79d"),
    "purple": Colour("#8102f3", "#84408f", "#d59ce0"),
    "gold": Colour("#f1d103", "#80600a", "#dcb449"),
    "wash": Colour("#c1d2e3", "#c3d8ea", "#2c4763"),
}
"""By role. `soft` is for secondary text, `rule` for lines that guide the eye, `wash` for areas behind a mark."""

HUES = ("blue", "orange", "green", "purple", "gold")


def pen(role: str) -> str:
    """Return the stand-in that drawings use for a role."""
    return PALETTE[role].stand_in


def variables(mode: str) -> str:
    """Return the CSS declarations of all roles for `light` or `dark`."""
    return " ".join(f"--{role}: {getattr(colour, mode)};" for role, colour in PALETTE.items())
