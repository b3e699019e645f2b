"""An optimiser by its name: SGD, Adam or AdamW with its settings and its state.

They see flat vectors and know no layer: ``sgd.py`` and ``adam.py`` hold the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

import numpy as np

from numpylm.optim.adam import adam_update, decay_weights
from numpylm.optim.chunks import chunks, slices_of_equal_decay
from numpylm.optim.sgd import sgd_update
from numpylm.parameters import Array


@dataclass
class Optimizer:
    """An optimiser's settings and its state, vectors of the same shape (N,) as theta, which
    ``zeros(size, dtype)`` makes: ``shared_zeros`` where processes share the work.

    Raises ``ValueError`` for a name other than "sgd", "adam" and "adamw".
    """

    name: str
    theta: Array
    decay: InitVar[Array | None]  # λ for each parameter; AdamW only
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    step: int = 0
    state: dict[str, Array] = field(default_factory=dict)
    zeros: Callable[..., Array] = np.zeros

    def __post_init__(self, decay: Array | None) -> None:
        names = {
            "sgd": ["u"] if self.momentum else [],
            "adam": ["m", "v"],
            "adamw": ["m", "v"],
        }.get(self.name)
        if names is None:
            raise ValueError(f'optimizer {self.name!r} is none of "sgd", "adam", "adamw"')
        given = self.state
        self.state = {name: self.zeros(self.theta.size, self.theta.dtype) for name in names}
        for name, vector in given.items():
            self.state[name][...] = vector
        if self.name != "adamw":
            decay = None
        self._decays = [
            [] if decay is None else slices_of_equal_decay(decay[s])
            for s in chunks(self.theta.size)
        ]

    def update(self, grad: Array, lr: float, scale: float = 1.0) -> None:
        """One step with the gradient scale · grad."""
        self.step += 1
        self.update_chunks(slice(None), grad, self.step, lr, scale)

    def update_chunks(self, part: slice, grad: Array, step: int, lr: float, scale: float) -> None:
        """What a step does to a part of the ``chunks``, none of which needs another."""
        mine = zip(chunks(self.theta.size)[part], self._decays[part], strict=True)
        for s, decays in mine:
            theta, g = self.theta[s], grad[s]
            if self.name == "sgd":
                u = self.state["u"][s] if self.momentum else None
                sgd_update(theta, g, u, lr=lr, momentum=self.momentum, scale=scale)
                continue
            for stretch, decay in decays:
                decay_weights(theta[stretch], decay, lr=lr)
            m, v = self.state["m"][s], self.state["v"][s]
            adam_update(theta, g, m, v, step=step, lr=lr, betas=self.betas, scale=scale)
