"""Two themes whose four meanings stay apart for colour-blind eyes, in colours that 256-colour terminals have.

The colours are of the xterm cube (levels 00, 5f, 87, af, d7, ff), so nothing is approximated. Among running, done,
warning and failed, every pair is at least 20 apart in CIE Lab under protanopia, deuteranopia and tritanopia
(matrices of Machado, Oliveira and Fernandes 2009), and each has a contrast of 4.5 on its background; a test says so.
Signs carry the meaning besides.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="ecg-dark",
    dark=True,
    primary="#5fafff",
    secondary="#87afd7",
    accent="#5fafff",
    success="#5fffd7",
    warning="#d7d700",
    error="#ff5f5f",
    foreground="#d7d7d7",
    background="#000000",
    surface="#000000",
    panel="#303030",
    boost="#303030",
)
LIGHT = Theme(
    name="ecg-light",
    dark=False,
    primary="#005fff",
    secondary="#005f87",
    accent="#005fff",
    success="#00875f",
    warning="#875f00",
    error="#5f0000",
    foreground="#000000",
    background="#ffffff",
    surface="#ffffff",
    panel="#d7d7d7",
    boost="#d7d7d7",
)
THEMES = (DARK, LIGHT)
