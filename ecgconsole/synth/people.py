"""Who is in the cohort: persons, their stays, diagnoses, drugs, deaths, and when they were recorded.

The outcomes are planted: ``PLANTED`` says with which odds, and goes into the truth file, so that an
analysis can be held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

RHYTHM_KINDS = {"sinus": 0.58, "ectopy": 0.18, "paroxysmal_af": 0.1, "persistent_af": 0.14}

# Probabilities are of one admission: of each before, of the recorded one, of each later one.
PLANTED = {
    "stroke_ischaemic_concurrent": {"probability_without_af": 0.07, "odds_ratio_af": 3.0},
    "stroke_ischaemic_future": {"probability_without_af": 0.08, "odds_ratio_af": 3.0},
    "stroke_ischaemic_before": {"probability_without_af": 0.05, "odds_ratio_af": 2.0},
    "stroke_haemorrhagic_concurrent": {"probability_without_af": 0.03, "odds_ratio_af": 1.0},
    "medication_antiarrhythmic": {"probability_without_af": 0.02, "odds_ratio_af": 40.0},
}
Effects = Mapping[str, Mapping[str, float]]
OUTCOMES = tuple(PLANTED)
AF_CODED_IF_AF, AF_CODED_IF_NOT_AF = 0.88, 0.05

_COMORBIDITIES = {  # ICD-9 code: probability at 65 years; doubles or halves with about 25 years
    "4019": 0.45,
    "25000": 0.22,
    "4280": 0.2,
    "41401": 0.24,
    "2724": 0.22,
    "4439": 0.06,
    "5849": 0.2,
    "49121": 0.07,
    "412": 0.06,
    "5859": 0.1,
}
_ACUTE = ("99591", "51881", "486", "5990", "2851", "0389", "78552", "5070", "2762", "2760")
# The planted drug: prescribed over the whole stay, so on each day of a recording inside it.
_ANTIARRHYTHMIC = "Amiodarone"
_DRUGS = {  # name in PRESCRIPTIONS: generic, route, (probability without AF, with AF)
    _ANTIARRHYTHMIC: ("Amiodarone", "IV", (0.0, 0.0)),  # as planted
    "Diltiazem": ("Diltiazem HCl", "IV DRIP", (0.02, 0.25)),
    "Metoprolol Tartrate": ("Metoprolol Tartrate", "PO", (0.3, 0.6)),
    "Warfarin": ("Warfarin", "PO", (0.04, 0.35)),
    "Heparin": ("Heparin Sodium", "SC", (0.5, 0.5)),
    "Heparin Flush PICC (100 units/ml)": ("Heparin Flush", "IV", (0.2, 0.2)),
    "Enoxaparin Sodium": ("Enoxaparin Sodium", "SC", (0.06, 0.12)),
    "Norepinephrine": ("Norepinephrine", "IV DRIP", (0.14, 0.18)),
    "Phenylephrine": ("Phenylephrine HCl", "IV DRIP", (0.12, 0.14)),
    "Vasopressin": ("Vasopressin", "IV DRIP", (0.04, 0.05)),
    "Lidocaine 5% Patch": ("Lidocaine 5% Patch", "TD", (0.05, 0.05)),
    "Acetaminophen": ("Acetaminophen", "PO", (0.8, 0.8)),
    "Pantoprazole": ("Pantoprazole Sodium", "IV", (0.5, 0.5)),
    "Insulin": ("Insulin Human Regular", "SC", (0.4, 0.4)),
}
_UNITS = ("MICU", "SICU", "CCU", "CSRU", "TSICU")


@dataclass(frozen=True)
class Prescription:
    drug: str
    generic: str
    route: str
    start: datetime
    end: datetime


@dataclass
class Admission:
    hadm_id: int
    icustay_id: int
    admitted: datetime
    discharged: datetime
    icu_in: datetime
    icu_out: datetime
    unit: str
    admission_type: str
    died: bool = False
    codes: list[str] = field(default_factory=list)
    prescriptions: list[Prescription] = field(default_factory=list)


@dataclass(frozen=True)
class RecordPlan:
    """A recording: its true admission (none where it has none) and how its link must be judged."""

    segment_base: int
    start: datetime
    duration_s: float
    hadm_id: int | None
    icustay_id: int | None
    link_status: str


@dataclass
class Person:
    """``kind``: see ``RHYTHM_KINDS``. ``in_tables``: whether the clinical tables know this person.
    ``has_pulse``: whether a pulse oximeter is recorded.

    ``planted``: which of ``OUTCOMES`` this person has.
    """

    subject_id: int
    kind: str
    sex: str
    age_years: float
    born: datetime | None
    died: datetime | None
    admissions: list[Admission]
    records: list[RecordPlan]
    unit: str = "micu"
    in_tables: bool = True
    has_pulse: bool = True
    planted: dict[str, bool] = field(default_factory=dict)

    @property
    def has_af(self) -> bool:
        return self.kind.endswith("af")


def draw_people(patients: int, hours: float, seed: int, effects: Effects = PLANTED) -> list[Person]:
    """A cohort in order of ``subject_id``; each person of its own random stream.

    ``effects``: ``PLANTED`` with other probabilities or odds ratios.
    """
    ids = np.random.default_rng([seed, 0])
    subjects = np.sort(ids.choice(np.arange(3, 99999), patients, replace=False))
    hadm_ids = ids.choice(np.arange(100001, 199999), 4 * patients, replace=False)
    icustay_ids = ids.choice(np.arange(200001, 299999), 4 * patients, replace=False)
    return [
        _draw_person(
            int(subject),
            hours,
            effects,
            i,
            [int(x) for x in hadm_ids[4 * i : 4 * i + 4]],
            [int(x) for x in icustay_ids[4 * i : 4 * i + 4]],
            np.random.default_rng([seed, 1, int(subject)]),
        )
        for i, subject in enumerate(subjects)
    ]


def segment_base(record_number: int) -> int:
    """The 7-digit number under which a record's segments are filed: unique below a million records."""
    return 3_000_000 + 7919 * record_number % 1_000_000


def split_duration(hours: float, rng: np.random.Generator) -> list[float]:
    """Seconds of each of a person's records: one, or two in a third of persons."""
    total_s = hours * 3600
    if rng.random() < 0.67:
        return [total_s]
    first = round(total_s * rng.uniform(0.3, 0.7))
    return [first, total_s - first]


def _draw_person(
    subject_id: int,
    hours: float,
    effects: Effects,
    number: int,
    hadm_ids: list[int],
    icustay_ids: list[int],
    rng: np.random.Generator,
) -> Person:
    kind = str(rng.choice(list(RHYTHM_KINDS), p=list(RHYTHM_KINDS.values())))
    has_af = kind.endswith("af")
    age = float(np.clip(rng.normal(75 if has_af else 62, 11 if has_af else 16), 18, 99))
    sex = str(rng.choice(["M", "F"], p=[0.56, 0.44]))
    n_admissions = 1 + int(min(rng.geometric(0.62) - 1, 3))
    index = int(rng.integers(n_admissions))
    start = datetime(2105, 1, 1) + timedelta(minutes=int(rng.integers(0, 85 * 365 * 1440)))
    born = datetime(start.year, start.month, min(start.day, 28)) - timedelta(days=round(age * 365.25))
    admissions = []
    for hadm_id, icustay_id in zip(hadm_ids[:n_admissions], icustay_ids[:n_admissions], strict=True):
        admission = _draw_admission(hadm_id, icustay_id, start, hours, rng)
        admissions.append(admission)
        start = admission.discharged + timedelta(minutes=int(rng.exponential(300) * 1440 + 20 * 1440))
    died = _draw_death(admissions, age, rng)
    planted = _draw_diagnoses(admissions, index, has_af, kind, age, effects, rng)
    antiarrhythmic = _with_odds(effects["medication_antiarrhythmic"], has_af)
    given = [_draw_prescriptions(admission, has_af, antiarrhythmic, rng) for admission in admissions]
    planted["medication_antiarrhythmic"] = given[index]
    if age > 89:  # MIMIC-III shifts such births to 300 years before the first admission
        year = admissions[0].admitted.year - 300
        born = born.replace(year=year, day=28 if (born.month, born.day) == (2, 29) else born.day)
    records = _plan_records(admissions, index, hours, number, rng)
    return Person(
        subject_id=subject_id,
        kind=kind,
        sex=sex,
        age_years=(admissions[index].admitted - admissions[0].admitted).days / 365.25 + age,
        born=born,
        died=died,
        admissions=admissions,
        records=records,
        unit=admissions[index].unit.lower(),
        in_tables=bool(rng.random() >= 0.02),
        has_pulse=bool(rng.random() >= 0.04),
        planted=planted,
    )


def _draw_admission(
    hadm_id: int, icustay_id: int, admitted: datetime, hours: float, rng: np.random.Generator
) -> Admission:
    icu_hours = hours + 6 + float(np.clip(rng.lognormal(np.log(50), 0.9), 12, 900))
    icu_in = admitted + timedelta(minutes=int(rng.exponential(600) if rng.random() < 0.5 else 2))
    icu_out = icu_in + timedelta(minutes=int(icu_hours * 60))
    discharged = icu_out + timedelta(minutes=int(np.clip(rng.exponential(4 * 1440), 0, 60 * 1440)))
    return Admission(
        hadm_id=hadm_id,
        icustay_id=icustay_id,
        admitted=admitted,
        discharged=discharged,
        icu_in=icu_in,
        icu_out=icu_out,
        unit=str(rng.choice(_UNITS, p=[0.35, 0.18, 0.15, 0.2, 0.12])),
        admission_type=str(rng.choice(["EMERGENCY", "ELECTIVE", "URGENT"], p=[0.82, 0.15, 0.03])),
    )


def _draw_death(admissions: list[Admission], age: float, rng: np.random.Generator) -> datetime | None:
    last = admissions[-1]
    if rng.random() < 0.05 + 0.12 * np.clip((age - 40) / 50, 0, 1):
        last.died = True
        last.discharged = last.icu_out
        return last.discharged
    if rng.random() < 0.3 * np.clip((age - 30) / 60, 0, 1):
        return last.discharged + timedelta(days=1 + int(rng.exponential(250)))
    return None


def _draw_diagnoses(
    admissions: list[Admission],
    index: int,
    has_af: bool,
    kind: str,
    age: float,
    effects: Effects,
    rng: np.random.Generator,
) -> dict[str, bool]:
    """Fills the admissions' codes and says which outcomes are among them."""
    chronic = [c for c, p in _COMORBIDITIES.items() if rng.random() < min(0.85, p * 2 ** ((age - 65) / 25))]
    coded = rng.random() < (AF_CODED_IF_AF if has_af else AF_CODED_IF_NOT_AF)
    first_coded = max(0, index - int(rng.integers(0, 2)))
    planted = dict.fromkeys(OUTCOMES, False)
    earlier_stroke = False
    for i, admission in enumerate(admissions):
        codes = [str(c) for c in rng.choice(_ACUTE, 3, replace=False)] + chronic
        if coded and i >= first_coded:
            codes.append("42731")
        if kind == "ectopy" and rng.random() < 0.3:
            codes.append("42769")
        if rng.random() < 0.03:
            codes.append(str(rng.choice(["4271", "4275", "42789", "4270", "42781"])))
        when = "before" if i < index else "concurrent" if i == index else "future"
        ischaemic = f"stroke_ischaemic_{when}"
        if rng.random() < _with_odds(effects[ischaemic], has_af):
            codes.append(str(rng.choice(["43491", "43411", "43401", "43311", "436"])))
            planted[ischaemic] = earlier_stroke = True
        elif earlier_stroke:
            codes.append(str(rng.choice(["43820", "4389", "43811"])))
        if i == index and rng.random() < _with_odds(effects["stroke_haemorrhagic_concurrent"], has_af):
            codes.append(str(rng.choice(["431", "430"])))
            planted["stroke_haemorrhagic_concurrent"] = True
        if rng.random() < 0.015:
            codes.append("4359")
        admission.codes = codes
    return planted


def _with_odds(effect: Mapping[str, float], has_af: bool) -> float:
    p = effect["probability_without_af"]
    odds = p / (1 - p) * (effect["odds_ratio_af"] if has_af else 1.0)
    return float(odds / (1 + odds))


def _draw_prescriptions(admission: Admission, has_af: bool, antiarrhythmic: float, rng: np.random.Generator) -> bool:
    """Fills the admission's prescriptions; returns whether the antiarrhythmic is among them, of that probability."""
    midnight = datetime(admission.admitted.year, admission.admitted.month, admission.admitted.day)
    days = max(1, (admission.discharged - midnight).days)
    for drug, (generic, route, probabilities) in _DRUGS.items():
        planted = drug == _ANTIARRHYTHMIC
        if rng.random() < (antiarrhythmic if planted else probabilities[int(has_af)]):
            first = int(rng.integers(0, max(1, days // 2)))
            last = int(rng.integers(first, days + 1))
            if planted:
                first, last = 0, days
            admission.prescriptions.append(
                Prescription(drug, generic, route, midnight + timedelta(days=first), midnight + timedelta(days=last))
            )
    return any(p.drug == _ANTIARRHYTHMIC for p in admission.prescriptions)


def _plan_records(
    admissions: list[Admission], index: int, hours: float, number: int, rng: np.random.Generator
) -> list[RecordPlan]:
    stay = admissions[index]
    draw = rng.random()
    plans = []
    free_s = (stay.icu_out - stay.icu_in).total_seconds() - hours * 3600 - 120
    earlier_s = 0.0
    for part, duration_s in enumerate(split_duration(hours, rng)):
        # Two records of one person lie in the two halves of the stay.
        wait_s = free_s * (0.5 * part + 0.45 * float(rng.random()))
        start = stay.icu_in + timedelta(seconds=60 + earlier_s + wait_s)
        earlier_s += duration_s
        hadm_id: int | None = stay.hadm_id
        status = "inside"
        if part == 0 and draw < 0.04 and index == 0:
            start = stay.admitted - timedelta(seconds=duration_s + float(rng.uniform(600, 5 * 3600)))
            status = "within tolerance"
        elif part == 0 and draw > 0.98 and index == 0:
            start = stay.admitted - timedelta(days=float(rng.uniform(3, 30)), hours=hours)
            hadm_id, status = None, "none"
        start = start.replace(microsecond=1000 * int(rng.integers(0, 1000)))
        base = segment_base(2 * number + part)
        icustay_id = stay.icustay_id if status == "inside" else None
        plans.append(RecordPlan(base, start, float(duration_s), hadm_id, icustay_id, status))
    return plans
