"""§1.2 Energy and CO2 of a computation, from its time and its power.

    energy    time · power · PUE                kWh
    CO2e      energy · intensity of the grid    g

Power is assumed, not measured, unless you give it: 12 W for each thread and 0.3725 W for each GB.
PUE, the power of a data centre over that of its computers, is 1 on a desk; the grid's default is
the world's mean. Source: Lannelongue, Grealey & Inouye 2021 (Green Algorithms),
doi:10.1002/advs.202100707.
"""

from __future__ import annotations

import math

WATTS_PER_THREAD, WATTS_PER_GB = 12.0, 0.3725
GRAMS_PER_KWH = 475.0  # CO2e, the world's mean of 2019 that Green Algorithms uses


def emissions(seconds: float, watts: float, pue: float, grid: float) -> tuple[float, float]:
    """(kWh, g CO2e) of a time at a power; ``grid`` in g CO2e per kWh.

    Raises ``ValueError`` for a power or an intensity below 0, or a PUE below 1.
    """
    if not (0.0 <= watts < math.inf and 0.0 <= grid < math.inf and 1.0 <= pue < math.inf):
        raise ValueError(f"watts {watts} and grid {grid} must be at least 0, pue {pue} at least 1")
    kwh = watts * pue * seconds / 3.6e6
    return kwh, kwh * grid
