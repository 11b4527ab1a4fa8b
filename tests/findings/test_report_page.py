"""The page of a whole folder: what it says, what it must not say, and that it is the same each time."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ecgconsole.errors import InputError
from ecgconsole.text import alias
from ecgconsole.workspace import Workspace, write_json
from tests.findings.report_cohort import make_folder, write_report

DATE = r"\b(1[89]|2[0-2])\d\d-\d\d-\d\d"
STAGES = ("build", "train", "embed", "discover", "validate", "stroke")


class Page(HTMLParser):
    """Text and elements of a page; scripts and styles apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._inside: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)


@pytest.fixture
def copy(reported: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(reported.folder, tmp_path / "output")
    return Workspace(tmp_path / "output")


def html_of(workspace: Workspace) -> str:
    return workspace.report.read_text(encoding="utf-8")


def changed(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    write_json(path, document)


def test_every_section_speaks_of_the_results(reported):
    page = Page(html_of(reported))
    patterns = json.loads(reported.patterns.read_text())
    tests = json.loads(reported.validation.read_text())["tests"]
    for heading in ("Cohort", "Signals", "Training", "Map", "Patterns", "Associations", "Risk", "Limits", "Words"):
        assert any(heading in w for w in page.words), heading
    assert "Not here yet" not in page.text
    assert f"{patterns['selection']['k']} clusters were fitted" in page.text
    assert f"{len(tests)} pairs of pattern and label were tested" in page.text
    for document in (patterns, json.loads(reported.stroke_risk.read_text())):
        for limit in document["limits"]:
            assert limit in page.text
    assert "Not a medical device" in page.text
    strips = [a for t, a in page.elements if t == "svg" and a.get("class") == "strip"]
    assert len(strips) == 3 * sum(p["patients"] >= 10 for p in patterns["patterns"])
    for _, attributes in (e for e in page.elements if e[0] == "svg" and e[1].get("role") == "img"):
        assert attributes["aria-label"]


def test_the_same_folder_gives_the_same_bytes(reported, copy):
    again = write_report(copy)
    assert again == html_of(reported)


def test_no_id_no_date_no_record_and_no_path_is_on_the_page(reported):
    html = html_of(reported)
    metadata = pd.read_parquet(reported.metadata)
    rejected = pd.read_parquet(reported.rejected)
    tokens = set(re.findall(r"[A-Za-z0-9]+", html))
    ids = {*metadata["patient_id"].astype(str), *rejected["patient_id"].astype(str)}
    numbers = {str(int(n)) for column in ("subject_id", "hadm_id") for n in metadata[column].dropna()}
    assert len(ids) > 50
    assert not tokens & ids
    # Shorter numbers are also coordinates.
    assert not tokens & {n for n in numbers if len(n) >= 5}
    assert not re.search(DATE, html)
    assert not any(Path(str(r)).name in html for r in rejected["record"] if r)
    assert str(reported.folder) not in html
    assert str(reported.folder.parent) not in html
    # Aliases are there: of the patients whose waveforms are drawn, with this folder's salt.
    known = {alias(p, reported.salt()) for p in metadata["patient_id"].astype(str)}
    shown = set(re.findall(r"P-[0-9a-f]{8}", html))
    assert shown
    assert shown <= known


def test_the_page_asks_nothing_of_a_network(reported):
    page = Page(html_of(reported))
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    for tag, attributes in page.elements:
        for name in ("src", "href", "data", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, value)
    assert "@import" not in html_of(reported)
    assert "url(" not in html_of(reported)


def test_small_groups_are_hidden_unless_asked_for(copy):
    metadata = pd.read_parquet(copy.metadata)
    few = metadata["care_unit"].dropna().astype(str).value_counts()
    unit, n = next((str(u), int(c)) for u, c in few.items() if c >= 10)
    metadata.loc[metadata.index[:4], "care_unit"] = "RAREUNIT"
    metadata.to_parquet(copy.metadata)
    hidden, open_ = Page(write_report(copy)), Page(write_report(copy, min_cell_patients=0))
    row = r"{} (\S+)"
    assert re.search(row.format("RAREUNIT"), hidden.text).group(1) == "<10"
    assert re.search(row.format("RAREUNIT"), open_.text).group(1) == "4"
    assert re.search(row.format(unit), open_.text).group(1) in (str(n), str(n - 1), str(n - 2), str(n - 3), str(n - 4))
    assert "Small groups are not hidden" in re.sub(r"\s+", " ", open_.text)
    assert "<10" not in open_.text


def test_events_of_few_patients_are_in_no_sentence(copy):
    def few(document):
        endpoint = document["endpoints"]["future_stroke"]
        endpoint.update(status="not estimable", models=[], events=7, patients=64, unknown=0)
        endpoint["reason"] = "7 events and 57 without among 64 patients; 20 of each needed"
        document["tripod_ai"][5]["answer"] = "future_stroke: 7 events among 64"

    changed(copy.stroke_risk, few)
    text = Page(write_report(copy)).text
    assert "<10 with the event" in text
    assert not re.search(r"\b7 events", text)
    assert "57 without" not in text
    assert "among 64" not in text


def test_a_pattern_of_few_patients_is_counted_and_nothing_else(copy):
    def few(document):
        document["patterns"][2].update({"class": "patient-specific", "patients": 4, "segments": 77_777})

    changed(copy.patterns, few)
    html = write_report(copy)
    page = Page(html)
    assert "1 more cluster of fewer than 10 patients: not shown" in page.text
    assert "77,777" not in page.text
    assert "Pattern 2" not in page.text
    data = json.loads(html.partition('id="map-data">')[2].partition("</script>")[0])
    names = data["colours"][0]["names"]
    assert not any(name.split(":")[0] == "2" for name in names)
    assert -1 in data["colours"][0]["codes"]


def test_points_of_the_map_carry_no_value_that_few_patients_share(reported):
    html = html_of(reported)
    data = json.loads(html.partition('id="map-data">')[2].partition("</script>")[0])
    names = [c["name"] for c in data["colours"]]
    assert names[:2] == ["Pattern", "Split"]
    assert "Heart rate" in names
    assert len({len(c["codes"]) for c in data["colours"]} | {len(v) for v in data["x"].values()}) == 1
    assert 50 <= len(data["x"]["neighbours"]) <= 120
    assert set(data) == {"x", "y", "colours"}


@pytest.mark.parametrize("there", range(1, len(STAGES)))
def test_a_part_of_the_pipeline_is_reported_and_what_is_missing_named(copy, there):
    for name in STAGES[there:]:
        gone = {
            "train": [copy.best_checkpoint.with_suffix(".json"), copy.runs],
            "embed": [copy.train_embeddings.parent],
            "discover": [copy.patterns, copy.pattern_model, copy.assignments, copy.patient_embeddings],
            "validate": [copy.validation],
            "stroke": [copy.stroke_risk, copy.stroke_model, copy.stroke_predictions],
        }[name]
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(write_report(copy))
    for name in STAGES[there:]:
        assert f"(stage {name} )" in page.text
    for name in STAGES[:there]:
        assert f"(stage {name} )" not in page.text


def test_an_empty_folder_and_a_damaged_result_say_what_to_do(tmp_path, copy):
    with pytest.raises(InputError, match="run build first"):
        write_report(Workspace(tmp_path / "nothing" / "output"))
    copy.validation.write_text('{"tests": [')
    with pytest.raises(InputError, match="run validate again"):
        write_report(copy)
    copy.validation.write_text('{"tests": []}')
    with pytest.raises(InputError, match="another version wrote it"):
        write_report(copy)


def test_results_of_other_files_are_called_out_of_date(copy):
    assert "Out of date" not in write_report(copy)
    changed(copy.patterns, lambda document: document.update(note="fitted again"))
    page = Page(write_report(copy))
    assert "Out of date" in page.text
    assert "another discovered_patterns.json than the one here; run validate again" in page.text


ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_text_from_files_cannot_become_markup(copy):
    metadata = pd.read_parquet(copy.metadata)
    metadata.loc[metadata.index[:20], "care_unit"] = ATTACK
    metadata.to_parquet(copy.metadata)
    rejected = pd.read_parquet(copy.rejected)
    rejected["label"] = rejected["label"].astype(str)
    rejected["record"] = ATTACK
    windows = rejected.index[rejected["level"] == "window"]
    rejected.loc[windows, "label"] = ATTACK
    rejected.to_parquet(copy.rejected)

    def named(document):
        for p in document["patterns"]:
            p["rhythm"] = {"name": ATTACK, "nearest": ATTACK, "share": 0.9, "labelled_patients": 20}
            p["rhythm"]["labelled_segments"] = 99

    changed(copy.patterns, named)
    changed(copy.stroke_risk, lambda d: d["missing_features"].update({ATTACK: ATTACK}))
    plain = Page(html_of(copy))
    html = write_report(copy)
    page = Page(html)
    assert "alert(1)" in page.text
    assert [t for t, _ in page.elements].count("script") == [t for t, _ in plain.elements].count("script")
    assert not any(t == "img" for t, _ in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    json.loads(html.partition('id="map-data">')[2].partition("</script>")[0])


def test_the_page_keeps_its_size(reported, copy):
    assert reported.report.stat().st_size < 1_500_000
    without = write_report(copy, waveforms=0)
    assert 'class="strip"' not in without


@pytest.mark.slow
def test_of_true_tables_no_id_and_no_time_reaches_the_page(real_data, tmp_path):
    """The clinical demo's own ids, admissions, stays, dates of birth and death, against the page made of them."""
    tables = real_data / "mimic3-clinical-demo"
    workspace = make_folder(tmp_path, 100, tables)
    html = write_report(workspace, clinical=tables)
    tokens = set(re.findall(r"[A-Za-z0-9]+", html))
    secret: set[str] = set()
    times: set[str] = set()
    for name in ("PATIENTS", "ADMISSIONS", "ICUSTAYS"):
        table = pd.read_csv(tables / f"{name}.csv", dtype=str)
        for column in table.columns:
            values = set(table[column].dropna())
            if column.endswith("_id") or column == "row_id":
                secret |= {v for v in values if len(v) >= 5}
            if column.startswith(("do", "in", "out")) or column.endswith("time"):
                times |= {v for v in values if re.match(DATE, v)}
    assert len(secret) > 300
    assert len(times) > 500
    assert not tokens & secret
    assert not re.search(DATE, html)
    assert not {t for time in times for t in time.split() if t in html and t != "00:00:00"}
    # Three occlusive strokes among a hundred: no figure, and not the number three.
    assert "<10 with the event" in Page(html).text
