"""How much of an embedding is who the patient is."""

from __future__ import annotations

import numpy as np

from ecgconsole.findings.clustering import unit_rows
from ecgconsole.findings.confounding import centred_by_patient, patient_information, same_patient_purity


def test_purity_against_a_slow_search():
    rng = np.random.default_rng(0)
    x, patient = unit_rows(rng.normal(size=(3000, 5))), rng.integers(0, 20, 3000)
    found = same_patient_purity(x, patient)
    hits = 0
    for i in range(0, 3000, 50):
        cosines = [float(x[i] @ x[j]) if j != i else -2.0 for j in range(3000)]
        hits += int(patient[int(np.argmax(cosines))] == patient[i])
    assert abs(found["purity"] - hits / 60) < 0.1
    assert abs(found["purity"] - found["purity_null"]) < 0.02
    assert abs(found["purity_null"] - 1 / 20) < 0.005


def test_an_embedding_of_identity_is_exposed_and_centring_takes_it_away():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(50), 20)
    x = (rng.normal(size=(50, 16))[patient] * 3 + rng.normal(size=(1000, 16))).astype(np.float32)
    assert same_patient_purity(unit_rows(x), patient)["purity"] > 0.95
    centred = centred_by_patient(x, patient)
    assert np.allclose([centred[patient == p].mean() for p in range(50)], 0, atol=1e-5)
    assert same_patient_purity(unit_rows(centred), patient)["purity"] < 0.1


def test_information_of_random_labels_is_at_its_null_and_of_patients_far_above():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 10)
    random = patient_information(rng.integers(0, 8, 1000), patient, rng)
    assert abs(random["nmi"] - random["nmi_null"]) < 0.02
    assert abs(random["ami"]) < 0.03
    assert random["nmi"] > 0.1  # raw NMI alone would mislead
    assert patient_information(patient // 10, patient, rng)["ami"] > 0.6
