"""Text for people: sanitised, with units as a person says them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# ECMA-48 control sequences: CSI, OSC and the other string controls (also their 8-bit forms, and
# unterminated at the end of the text), then any remaining two-byte escape.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)


def sanitise(text: object, limit: int = 2000) -> str:
    """One printable line: no escapes, no control or bidi characters, at most ``limit`` characters.

    Markup is not touched: whoever draws with Rich or Textual turns markup off instead.
    """
    raw = str(text)[: 4 * limit]
    if len(raw) <= limit and raw.isascii() and raw.isprintable():
        return raw
    raw = _ESCAPES.sub("", raw)
    kept = "".join(
        " " if c in "\t\n\r\v\f" else c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for c in raw
    )
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def alias(patient_id: str, salt: bytes) -> str:
    """The name under which a patient may appear in events, logs, screens and the report."""
    return "P-" + hashlib.blake2b(patient_id.encode(), key=salt, digest_size=4).hexdigest()


def duration(seconds: float | None) -> str:
    """``2 h 10 m``, ``41 m``, ``12 s``: the two largest units that a person would say."""
    if seconds is None or seconds != seconds or seconds == float("inf"):
        return "–"
    s = max(0, round(seconds))
    if s < 60:
        return f"{s} s"
    minutes, s = divmod(s, 60)
    if minutes < 60:
        return f"{minutes} m {s} s" if minutes < 10 and s else f"{minutes} m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def size(n_bytes: float) -> str:
    """``2.2 GB`` in decimal units, as disks are sold and ``df -H`` prints."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def count(n: int | float, noun: str) -> str:
    """``1 patient``, ``2,391 patients``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
