"""A widget of text rows that redraws only the rows that changed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

# A row is spans of text, each with a tone and, where it answers the mouse, an action (``app.show('data')``).
# A tone is a component class, so every theme can colour it.
Span = tuple[str, str] | tuple[str, str, str]
Row = Sequence[Span]
# Colours that tell lines and groups apart.
LINE_TONES = ("train", "val", "other", "fourth", "fifth", "sixth")
