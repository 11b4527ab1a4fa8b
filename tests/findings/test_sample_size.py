"""Minimum sample sizes against published examples."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from ecgconsole.findings.sample_size import affordable_parameters, largest_r2, minimum_patients


def test_the_chagas_example_of_riley_2019():
    # Section 6.1: 24 parameters, prevalence 0.174, Cox-Snell R2 0.288: 623 and 662 patients, 4.8 events a parameter.
    found = minimum_patients(24, 0.174, 0.288)
    assert found["by_criterion"][:2] == [623, 662]
    assert found["patients"] == 662
    assert round(662 * 0.174 / 24, 1) == 4.8


def test_the_largest_r2_is_that_of_a_perfect_model():
    # Riley et al. (2019), table 1: 0.75 at 0.5, 0.33 at 0.05.
    assert round(largest_r2(0.5), 2) == 0.75
    assert round(largest_r2(0.05), 2) == 0.33


def test_half_the_patients_have_an_outcome_needs_385_for_the_overall_risk():
    assert minimum_patients(1, 0.5, 0.5)["by_criterion"][2] == 385


def test_affordable_parameters_are_the_most_that_fit():
    for patients, prevalence in ((300, 0.1), (2400, 0.02), (2400, 0.1)):
        k = affordable_parameters(patients, prevalence)
        if k:
            assert minimum_patients(k, prevalence)["patients"] <= patients
        assert minimum_patients(k + 1, prevalence)["patients"] > patients
    assert affordable_parameters(50, 0.5) == 0


def test_the_second_criterion_keeps_the_optimism_within_its_bound():
    """At its shrinkage S, apparent minus adjusted Nagelkerke R2 is exactly 0.05: R2 (1/S - 1) / largest."""
    r2, largest = 0.1, largest_r2(0.2)
    found = minimize_scalar(lambda s: (r2 * (1 / s - 1) / largest - 0.05) ** 2, bounds=(0.3, 0.999), method="bounded")
    expected = np.ceil(10 / ((found.x - 1) * np.log(1 - r2 / found.x)))
    assert abs(minimum_patients(10, 0.2, r2)["by_criterion"][1] - expected) <= 1
