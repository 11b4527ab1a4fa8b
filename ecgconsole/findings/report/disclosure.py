"""What a page may tell of small groups of people: counts under a minimum are not shown, nor can they be worked out.

MIMIC's terms of use, and statistical disclosure control in general, ask that published cells hold at least so many
people: see Hundepool et al., Statistical Disclosure Control (2012), chapter 4, on primary and secondary suppression.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HIDDEN = -1


def is_small(n: int, minimum: int) -> bool:
    """Whether ``n`` people are a cell that must not be shown. Nobody at all is no cell."""
    return 0 < n < minimum


def cell(n: int, minimum: int) -> str:
    """A count that stands alone: ``12``, or ``<10``."""
    return f"<{minimum}" if is_small(n, minimum) else f"{n:,}"


def parts(counts: Sequence[int], minimum: int) -> list[str]:
    """Counts of which the sum may be known elsewhere.

    Small ones are hidden; where a difference would still give them away (one is hidden, or those hidden are
    together under the minimum) the largest of the others is hidden too, as ``10 or more``.
    """
    small = {i for i, n in enumerate(counts) if is_small(n, minimum)}
    hidden = set(small)
    while hidden and (len(hidden) == 1 or sum(counts[i] for i in hidden) < minimum):
        rest = [i for i, n in enumerate(counts) if n > 0 and i not in hidden]
        if not rest:
            break
        hidden.add(max(rest, key=lambda i: (counts[i], -i)))
    return [
        f"<{minimum}" if i in small else f"{minimum} or more" if i in hidden else f"{n:,}" for i, n in enumerate(counts)
    ]


def people_per_value(values: NDArray, patient: NDArray, n_values: int) -> NDArray[np.int64]:
    """Different patients (n_values,) behind each value; ``values`` and ``patient`` (n,) are codes, negative: none."""
    known = values >= 0
    if not known.any():
        return np.zeros(n_values, np.int64)
    n_patients = int(patient.max()) + 1
    pairs = np.unique(values[known].astype(np.int64) * n_patients + patient[known])
    return np.bincount(pairs // n_patients, minlength=n_values).astype(np.int64)


def without_small_cells(values: NDArray, group: NDArray, patient: NDArray, minimum: int) -> NDArray[np.int64]:
    """``values`` (n,), those of a cell of ``group`` and value with too few patients replaced by ``HIDDEN``."""
    values, group = values.astype(np.int64), group.astype(np.int64)
    width = int(values.max(initial=0)) + 1
    cells = np.where((values >= 0) & (group >= 0), group * width + values, -1)
    people = people_per_value(cells, patient, int(cells.max(initial=0)) + 1)
    return np.where((cells >= 0) & (people[cells] < minimum), HIDDEN, values)


def merged_groups(patients: Sequence[int], events: Sequence[int], minimum: int) -> list[list[int]]:
    """Neighbouring groups joined until each holds ``minimum`` patients with the event and as many without.

    What is left at the end joins the last whole group; empty where all together do not hold enough.
    """
    groups: list[list[int]] = []
    current: list[int] = []
    for i in range(len(patients)):
        current.append(i)
        happened = sum(events[j] for j in current)
        if min(happened, sum(patients[j] for j in current) - happened) >= minimum:
            groups.append(current)
            current = []
    if groups:
        groups[-1] += current
    return groups
