"""The pictures of docs/console.md, from a real run: ``python docs/pictures.py demo_output/output``.

A console without a terminal opens each screen on the folder and writes it as SVG to docs/images/.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from ecgconsole.console.app import Console
from ecgconsole.console.screens import SCREENS
from ecgconsole.workspace import Workspace

SIZE = (110, 32)
SECONDS = 8.0  # for what a screen reads in a thread
KEYS = {"run": "f"}


async def take(folder: Path, images: Path) -> None:
    """One SVG a screen. The run must have ended, or the pictures differ each time."""
    images.mkdir(exist_ok=True)
    async with Console(Workspace(folder)).run_test(size=SIZE) as pilot:
        for screen in SCREENS:
            await pilot.press(screen.key)
            await pilot.pause(1.0)
            if key := KEYS.get(screen.name):
                await pilot.press(key)
            await pilot.pause(SECONDS)
            pilot.app.clear_notifications()
            await pilot.pause(0.3)
            (images / f"{screen.name}.svg").write_text(elsewhere(pilot.app.export_screenshot(), folder))


def elsewhere(svg: str, folder: Path) -> str:
    """Paths of this machine as paths of the same length, which the widths of an SVG's texts demand."""
    for place in (str(folder.absolute().parent), sys.prefix):
        svg = svg.replace(place, "/home/researcher/recordings/of/everything"[: len(place)])
    return svg


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as home:  # nobody's own theme and keys
        os.environ |= {"XDG_STATE_HOME": home, "XDG_CONFIG_HOME": home}
        asyncio.run(take(Path(sys.argv[1]), Path(__file__).parent / "images"))
