"""Text from files cannot steer the terminal; numbers read as a person says them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.text import alias, count, duration, sanitise, size


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]52;c;aGVsbG8=\x07after", "after"),
        ("\x1b]52;c;aGVsbG8=\x1b\\after", "after"),
        ("\x1b]0;never ended", ""),
        ("\x9b31mred", "red"),
        ("\x1bPdevice control\x1b\\x", "x"),
        ("a\tb\nc\rd", "a b c d"),
        ("[/bin/bash -c]", "[/bin/bash -c]"),
        ("\u202eright to left", "\ufffdright to left"),
        ("nul\x00bell\x07", "nul\ufffdbell\ufffd"),
    ],
)
def test_escapes_go_and_words_stay(raw, clean):
    assert sanitise(raw) == clean


@given(st.text())
def test_what_is_left_is_one_printable_line(raw):
    clean = sanitise(raw)
    assert not any(unicodedata.category(c)[0] == "C" for c in clean)
    assert len(clean) <= 2000


def test_a_megabyte_without_newline_is_cut():
    assert len(sanitise("x" * 1_000_000)) == 2000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.2, "0 s"),
        (59.4, "59 s"),
        (61, "1 m 1 s"),
        (2460, "41 m"),
        (7800, "2 h 10 m"),
        (260_000, "3 d 0 h"),
    ],
)
def test_durations_read_as_said(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (49_000_000, "49.0 MB"), (412e9, "412 GB")]
)
def test_sizes_read_as_said(n_bytes, text):
    assert size(n_bytes) == text


def test_counts_take_their_plural():
    assert (count(1, "patient"), count(2391, "patient")) == ("1 patient", "2,391 patients")


def test_an_alias_is_stable_and_depends_on_the_salt():
    assert alias("p000020", b"a") == alias("p000020", b"a") != alias("p000020", b"b")
    assert alias("p000020", b"a")[2:4] != "20" or len(alias("p000020", b"a")) == 10
