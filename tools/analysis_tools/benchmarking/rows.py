"""From what each round took to the table's rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from torch import Tensor

from .subject import BASELINE, Case, lab_error


def rows_of(
    cases: Sequence[Case],
    times: Sequence[Mapping[Case, Mapping[str, float]]],
    memory: Mapping[Case, float | None],
    outputs: Mapping[Case, Tensor],
) -> list[dict[str, Any]]:
    """The table's rows: milliseconds a photo, MB, and how they compare with the baseline's."""
    rows = {}
    for case in cases:
        figures = medians([per_photo(case, seconds) for seconds in times])
        rows[case] = {**asdict(case), **figures, 'memory': memory[case], **difference(case, outputs)}
    for case, row in rows.items():
        reference = rows.get(case.reference)
        if reference is None or case.implementation == BASELINE:
            continue
        row['total_ratio'] = row['total'] / reference['total']
        row['networks_ratio'] = row['networks'] / reference['networks']
        if case.instances:
            for name in ('fusion', 'fusion_by_difference'):
                row[f'{name}_ratio'] = row[name] / reference[name]
        if case.batch == 1:
            row['memory_ratio'] = row['memory'] / reference['memory']
    return list(rows.values())


def per_photo(case: Case, seconds: Mapping[Case, Mapping[str, float]]) -> dict[str, float]:
    """A round's milliseconds of a case, one photo's share.

    `fusion` is timed by itself; `fusion_by_difference`, the fused network less the plain one, should be the same, but
    two runs lie between them.
    """
    own = seconds[case]
    plain = own['plain'] if case.implementation == BASELINE else seconds[case.plain]['full']
    shares = {name: own.get(name, 0.0) for name in ('networks', 'full', 'instance', 'fusion')}
    shares['fusion_by_difference'] = own['fused'] - plain if case.instances else 0.0
    figures = {name: 1000 * value / case.batch for name, value in shares.items()}
    around = {name: 1000 * own[name] for name in ('decode', 'detect', 'prepare', 'merge', 'encode')}
    # The detector is left out: the boxes are given.
    total = figures['networks'] + sum(value for name, value in around.items() if name != 'detect')
    return {**around, **figures, 'total': total}


def difference(case: Case, outputs: Mapping[Case, Tensor]) -> dict[str, Any]:
    """How far a case's colours are from the baseline's and, below float32, from its own in float32."""
    found: dict[str, Any] = {}
    if case.implementation == BASELINE:
        return found
    if case.precision == 'fp32' and case.reference in outputs:
        found['ab_difference'] = (outputs[case] - outputs[case.reference]).abs().max().item()
    exact = replace(case, precision='fp32')
    if case.precision != 'fp32' and exact in outputs:
        found['ab_error'] = lab_error(outputs[case], outputs[exact])
    return found


def medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each entry."""
    return {name: float(np.median([sample[name] for sample in samples])) for name in samples[0]}
