"""Names of columns and files as a reader says them."""

from __future__ import annotations

_WHEN = (
    ("concurrent_", "coded in the recorded stay"),
    ("future_", "coded in a later stay"),
    ("history_", "known before the recording"),
    ("before_", "known before the recorded stay"),
    ("ever_", "coded in any stay"),
)
_WHOLE = {
    "control": "no arrhythmia or stroke code, discharged alive",
    "died_in_hospital": "died in hospital",
    "died_within_90_days": "died within 90 days of the recording",
}
_TURNED = {"stroke ischaemic": "ischaemic stroke", "stroke haemorrhagic": "haemorrhagic stroke", "tia": "TIA"}
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


_FEATURES = {
    "age_years": "age",
    "male": "sex",
    "cha2ds2_vasc_without_age_and_sex": "CHA₂DS₂-VASc of earlier stays, without age and sex",
    "history_atrial_fibrillation": "known atrial fibrillation",
    "heart_rate_bpm_median": "median heart rate",
    "rr_irregular_share_median": "irregular beats (median segment)",
    "rr_irregular_share_p90": "irregular beats (90th percentile of segments)",
}


def feature_words(name: str) -> str:
    """``heart_rate_bpm_median`` as ``median heart rate``; a feature not known here by its own name."""
    return _FEATURES.get(name, plain(name))


def plain(name: str) -> str:
    """``atrial_fibrillation`` as ``atrial fibrillation``."""
    return name.replace("_", " ")


def label_words(name: str) -> str:
    """``concurrent_atrial_fibrillation`` as ``atrial fibrillation, coded in the recorded stay``."""
    if name in _WHOLE:
        return _WHOLE[name]
    if name.startswith("medication_"):
        return f"{plain(name.removeprefix('medication_'))} given"
    for prefix, when in _WHEN:
        if name.startswith(prefix):
            what = plain(name.removeprefix(prefix)).removesuffix(" brief")
            what = _TURNED.get(what, what)
            broad = " (broad list)" if name.endswith("_brief") else ""
            return f"{what}{broad}, {when}"
    return plain(name)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def decimals(value: float | None, digits: int = 2) -> str:
    """``0.41``, ``−1.3``, or a dash for a number that does not exist."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``0.31 to 0.52``; an end that does not exist is infinite."""
    if low is None and high is None:
        return "–"
    return (
        f"{decimals(low, digits) if low is not None else '0'} to {decimals(high, digits) if high is not None else '∞'}"
    )


def significant(value: float | None) -> str:
    """Three significant digits: ``12.4``, ``0.0231``, ``277``."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
