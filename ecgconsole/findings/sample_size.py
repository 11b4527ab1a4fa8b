"""How many patients a risk model needs, and how many parameters the patients at hand can carry."""

from __future__ import annotations

import math
from typing import Any

SHRINKAGE = 0.9
R2_DIFFERENCE = 0.05
RISK_MARGIN = 0.05
# Without an earlier model to go by: 15 % of the largest possible R2 (Riley et al. 2020).
ANTICIPATED_SHARE = 0.15


def largest_r2(prevalence: float) -> float:
    """Largest possible Cox-Snell R2 of a binary outcome: 1 - (phi^phi (1 - phi)^(1 - phi))^2."""
    log_null = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    return 1 - math.exp(2 * log_null)


def minimum_patients(parameters: int, prevalence: float, r2: float | None = None) -> dict[str, Any]:
    """Minimum sample for a model with ``parameters``: criteria 1 to 3 of Riley et al.

    Statistics in Medicine 38 (2019) 1276, and BMJ 368 (2020) m441: expected shrinkage of 0.9 or
    more, at most 0.05 between apparent and adjusted Nagelkerke R2, overall risk within 0.05.
    ``r2`` is the anticipated Cox-Snell R2.
    """
    largest = largest_r2(prevalence)
    r2 = ANTICIPATED_SHARE * largest if r2 is None else r2
    second = r2 / (r2 + R2_DIFFERENCE * largest)
    needed = (
        _by_shrinkage(parameters, r2, SHRINKAGE),
        _by_shrinkage(parameters, r2, second),
        math.ceil((1.96 / RISK_MARGIN) ** 2 * prevalence * (1 - prevalence)),
    )
    return {
        "parameters": parameters,
        "prevalence": prevalence,
        "anticipated_r2": r2,
        "by_criterion": list(needed),
        "patients": max(needed),
        "events": math.ceil(max(needed) * prevalence),
    }


def affordable_parameters(patients: int, prevalence: float) -> int:
    """The most parameters for which ``patients`` meet all three criteria (0 if none)."""
    found = 0
    while found < patients and minimum_patients(found + 1, prevalence)["patients"] <= patients:
        found += 1
    return found


def _by_shrinkage(parameters: int, r2: float, shrinkage: float) -> int:
    return math.ceil(parameters / ((shrinkage - 1) * math.log(1 - r2 / shrinkage)))
