"""ICD-9-CM codes: one spelling for each, and which codes make which endpoint."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

# Endpoint: codes, without dot. Ischaemic stroke is 433.x1 and 434.x1 (with infarction) and 436.
ENDPOINTS: dict[str, str] = {
    "stroke": r"43[34]\d1|436|43[01]\d*",
    "stroke_ischaemic": r"43[34]\d1|436",
    "stroke_haemorrhagic": r"43[01]\d*",
    "tia": r"435\d*",
    "stroke_brief": r"43[0-8]\d*",
    "arrhythmia_brief": r"427\d*",
    "paroxysmal_supraventricular_tachycardia": r"4270",
    "paroxysmal_ventricular_tachycardia": r"4271",
    "paroxysmal_tachycardia_unspecified": r"4272",
    "atrial_fibrillation": r"42731",
    "atrial_flutter": r"42732",
    "ventricular_fibrillation_or_flutter": r"4274\d?",
    "cardiac_arrest": r"4275",
    "premature_beats": r"4276\d?",
    "other_dysrhythmia": r"4278\d?",
    "dysrhythmia_unspecified": r"4279",
}
STROKE_ENDPOINTS = ("stroke", "stroke_ischaemic", "stroke_haemorrhagic", "tia", "stroke_brief")
# Late effects of cerebrovascular disease, and a personal history of stroke or TIA: they tell of the past.
LATE_EFFECTS = r"438\d*|V1254"

# The parts of CHA2DS2-VASc that codes can tell, after Quan et al., Medical Care 43 (2005), table 1 (heart
# failure, hypertension, diabetes), and Lip et al., Chest 137 (2010), for vascular disease (old or acute
# myocardial infarction, peripheral arterial disease, aortic plaque) and thromboembolism.
COMORBIDITIES: dict[str, str] = {
    "heart_failure": r"39891|40201|40211|40291|4040[13]|4041[13]|4049[13]|425[4-9]\d*|428\d*",
    "hypertension": r"40[1-5]\d*",
    "diabetes": r"250\d*",
    "vascular_disease": r"410\d*|412|440\d*|4439",
    "stroke_or_thromboembolism": r"43[34]\d1|436|435\d*|438\d*|V1254|444\d*",
}


def matching(codes: Iterable[str], pattern: str) -> set[str]:
    """Those of the normalised ``codes`` that the whole ``pattern`` matches."""
    compiled = re.compile(pattern)
    return {code for code in codes if compiled.fullmatch(code)}


def normalise(code: str, valid_codes: Collection[str] = ()) -> str:
    """An ICD-9-CM diagnosis code as MIMIC-III writes it: upper case, no dot, leading zeros in place.

    Zeros that a spreadsheet dropped come back where only one reading is left:

    - with a dot, the part before it has three characters (``38.9`` is 038.9, ``V1.2`` is V01.2, ``E8.1`` is E008.1);
    - without a dot, a number that is no code of ``valid_codes`` while exactly one of its zero-padded
      forms is (``389`` of 038.9 stays, where 389 is itself a code);
    - without ``valid_codes``, a number of one or two digits is padded to three, as no category is shorter.

    Anything else stays as it is: no label of ours has a code that begins with zero.
    """
    text = code.strip().strip('"').strip().upper()
    head, dot, tail = text.partition(".")
    if dot:
        letter = head[:1] if head[:1] in ("V", "E") else ""
        width = {"V": 2, "E": 3}.get(letter, 3)
        digits = head[len(letter) :]
        if not digits.isascii() or not digits.isdigit():
            return head + tail
        return letter + digits.zfill(width) + tail
    if not (text.isascii() and text.isdigit()) or text in valid_codes:
        return text
    if valid_codes:
        padded = [c for c in ("0" + text, "00" + text) if c in valid_codes]
        return padded[0] if len(padded) == 1 else text
    return text.zfill(3)
