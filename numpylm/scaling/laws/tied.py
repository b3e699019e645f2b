"""A law with two constants that are held equal: Gadre's form is Chinchilla's with α = β."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.laws.power_laws import Law


@dataclass(frozen=True)
class Tied:
    """``law`` with the constant ``second`` equal to ``first``: one coordinate fewer, and the
    derivative by the first is the sum of both.

    Raises ``ValueError`` unless both are exponents that are coordinates by themselves.
    """

    law: Law
    first: str
    second: str

    def __post_init__(self) -> None:
        plain = [n for n, logarithm in self.law.profiled.items() if not logarithm]
        if self.law.form == "generalised":
            plain = ["alpha", "beta"]
        if self.first == self.second or not {self.first, self.second} <= set(plain):
            raise ValueError(f"{self.law.form} cannot have {self.first} = {self.second}; what can "
                             f"be tied: {', '.join(plain) or 'nothing'}")  # fmt: skip

    @property
    def form(self) -> str:
        return self.law.form

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.law.inputs

    @property
    def _positions(self) -> tuple[int, int]:
        names = self.law.coordinates
        return names.index(self.first), names.index(self.second)

    @property
    def coordinates(self) -> tuple[str, ...]:
        return tuple(name for name in self.law.coordinates if name != self.second)

    @property
    def profiled(self) -> dict[str, bool]:
        return {n: how for n, how in self.law.profiled.items() if n != self.second}

    def features(self, x: Array) -> Array:
        return self.law.features(x)

    def centre(self, z: Array) -> Array:
        return self.law.centre(z)

    def _whole(self, theta: Array) -> Array:
        """The coordinates of the law itself, (R, P + 1)."""
        first, second = self._positions
        without = np.insert(theta, second, 0.0, axis=1)
        without[:, second] = without[:, first]
        return without

    def log_loss(self, theta: Array, z: Array) -> tuple[Array, Array]:
        log_loss, derivatives = self.law.log_loss(self._whole(theta), z)
        first, second = self._positions
        derivatives = derivatives.copy()
        derivatives[first] += derivatives[second]
        return log_loss, np.delete(derivatives, second, axis=0)

    def starts(self, z: Array, loss: Array) -> Array:
        """Those of the law that have both nearly equal."""
        theta = self.law.starts(z, loss)
        first, second = self._positions
        near = np.abs(theta[:, first] - theta[:, second]) < 1e-9
        return np.delete(theta[near] if near.any() else theta, second, axis=1)

    def constants(self, theta: Array, centre: Array) -> dict[str, Array]:
        return self.law.constants(self._whole(theta), centre)

    def theta(self, constants: dict[str, float], centre: Array) -> Array:
        both = {self.first, self.second} & constants.keys()
        shared = {name: constants[n] for n in both for name in (self.first, self.second)}
        return np.delete(self.law.theta(constants | shared, centre), self._positions[1])
