"""ICD-9 codes: one spelling, and the endpoints they make."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgconsole.clinical.codes import COMORBIDITIES, ENDPOINTS, LATE_EFFECTS, matching, normalise


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("42731", "42731"),
        ("427.31", "42731"),
        (" 427.31 ", "42731"),
        ('"427.31"', "42731"),
        ("428.", "428"),
        ("038.9", "0389"),
        ("38.9", "0389"),
        ("8.45", "00845"),
        ("v12.54", "V1254"),
        ("V1.2", "V012"),
        ("E888.9", "E8889"),
        ("42", "042"),
        ("8", "008"),
        ("389", "389"),
        ("", ""),
        ("NOS", "NOS"),
    ],
)
def test_a_code_has_one_spelling(written: str, meant: str) -> None:
    assert normalise(written) == meant


def test_zeros_come_back_where_the_list_of_codes_leaves_one_reading() -> None:
    valid = {"0389", "412", "0412", "00845", "4149"}
    assert normalise("389", valid) == "0389"
    assert normalise("845", valid) == "00845"
    assert normalise("412", valid) == "412", "is itself a code: not touched"
    assert normalise("999", valid) == "999", "no reading"
    assert normalise("12", {"012", "0012"}) == "12", "two readings"


@given(st.from_regex(r"(\d{3}|V\d{2}|E\d{3})(\d{0,2})", fullmatch=True))
def test_a_dot_or_a_second_pass_changes_nothing(code: str) -> None:
    head = 4 if code[0] == "E" else 3
    assert normalise(code) == code
    assert normalise(f"{code[:head]}.{code[head:]}") == code
    assert normalise(normalise(f" {code.lower()} ")) == code


@given(st.text(max_size=12))
def test_any_text_is_a_code_without_dot_or_an_error_of_nobody(text: str) -> None:
    assert normalise(normalise(text)) == normalise(normalise(normalise(text)))


def test_lost_zeros_of_the_demo_come_back_and_touch_no_label(
    demo_rows: Callable[[str], list[dict[str, str]]],
) -> None:
    valid = {r["icd9_code"] for r in demo_rows("D_ICD_DIAGNOSES")}
    codes = {r["icd9_code"] for r in demo_rows("DIAGNOSES_ICD")}
    repaired = {code: normalise(code.lstrip("0"), valid) for code in codes if code.startswith("0")}
    assert len(repaired) > 20
    wrong = {code.lstrip("0") for code, got in repaired.items() if got != code}
    assert len(wrong) < len(repaired) / 2
    for bare in wrong:  # several readings, or none that the list of codes knows: nobody can tell
        assert sum(reading in valid for reading in (bare, "0" + bare, "00" + bare)) != 1
    labels = {**ENDPOINTS, **COMORBIDITIES}
    assert not any(matching(wrong, pattern) for pattern in labels.values())
    assert all(normalise(code, valid) == code for code in codes)


@pytest.mark.parametrize(
    ("endpoint", "inside", "outside"),
    [
        (
            "stroke_ischaemic",
            {"43301", "43311", "43491", "43401", "436"},
            {"43300", "43490", "435", "4359", "4371", "4369"},
        ),
        ("stroke_haemorrhagic", {"430", "431"}, {"432", "4321", "4329"}),
        ("tia", {"4350", "4359"}, {"436", "43491"}),
        ("stroke", {"43491", "430", "431", "436"}, {"4359", "43820", "4371"}),
        ("stroke_brief", {"430", "43310", "4371", "43820", "4359"}, {"4299", "4400", "0430"}),
        ("atrial_fibrillation", {"42731"}, {"42732", "4273", "427"}),
        ("atrial_flutter", {"42732"}, {"42731"}),
        ("ventricular_fibrillation_or_flutter", {"42741", "42742"}, {"4275"}),
        ("premature_beats", {"42760", "42761", "42769"}, {"42789"}),
        ("arrhythmia_brief", {"42731", "4270", "42789", "4275"}, {"42830", "0427"}),
    ],
)
def test_an_endpoint_holds_its_codes_and_no_others(endpoint: str, inside: set[str], outside: set[str]) -> None:
    assert matching(inside | outside, ENDPOINTS[endpoint]) == inside


def test_subtypes_of_427_cover_each_code_once(demo_rows: Callable[[str], list[dict[str, str]]]) -> None:
    subtypes = [
        pattern for name, pattern in ENDPOINTS.items() if pattern.startswith("427") and name != "arrhythmia_brief"
    ]
    codes = {r["icd9_code"] for r in demo_rows("D_ICD_DIAGNOSES") if r["icd9_code"].startswith("427")}
    assert len(codes) == 14
    assert {c: sum(bool(re.fullmatch(p, c)) for p in subtypes) for c in codes} == dict.fromkeys(codes, 1)


def test_comorbidities_are_what_their_titles_say(demo_rows: Callable[[str], list[dict[str, str]]]) -> None:
    titles = {r["icd9_code"]: r["long_title"].lower() for r in demo_rows("D_ICD_DIAGNOSES")}
    words = {
        "heart_failure": r"heart failure|cardiomyopath|heart disease",
        "hypertension": r"hyperten",
        "diabetes": r"diabetes",
        "vascular_disease": r"wall infarction|myocardial infarction|subendocardial infarction|atheroscler|"
        r"peripheral vascular|occlusion of artery of the extremities",
        "stroke_or_thromboembolism": r"cerebral infarction|cerebrovascular disease|transient cerebral isch|"
        r"transient ischemic|artery syndrome|subclavian steal|embol",
    }
    for name, pattern in COMORBIDITIES.items():
        for code in matching(titles, pattern):
            assert re.search(words[name], titles[code]), (name, code, titles[code])
    assert all("late effects" in titles[c] or "personal history" in titles[c] for c in matching(titles, LATE_EFFECTS))
