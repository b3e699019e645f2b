"""Clipping: a gradient that is longer than ``max_norm`` is shortened to it, g ← g · c / ‖g‖.

Source: Pascanu, Mikolov & Bengio 2013, §3.2.
"""

from __future__ import annotations

import math

import numpy as np

from numpylm.optim.chunks import chunks
from numpylm.parameters import Array


def global_norm(grad: Array) -> float:
    """‖g‖₂ over all parameters: a dot product for each chunk, added up in a fixed order."""
    return math.sqrt(sum(squared_norm(grad[s]) for s in chunks(grad.size)))


def squared_norm(grad: Array) -> float:
    """gᵀg."""
    return float(np.vdot(grad, grad))


def clip_factor(norm: float, max_norm: float | None) -> float:
    """min(1, max_norm / ‖g‖): what the gradient is multiplied by. None clips nothing."""
    return 1.0 if max_norm is None or norm <= max_norm else max_norm / norm
