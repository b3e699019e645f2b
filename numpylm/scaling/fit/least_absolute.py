"""The least sum of absolute values, to the end, with a certificate.

    minimise Σ_i |r_i(θ)|:   at a minimum   Σ_{r_i ≠ 0} sign(r_i) J_i + Σ_{r_i = 0} λ_i J_i = 0
                                            with all multipliers λ_i in [−1, 1]

The sum has a kink wherever a residual is zero, and its minimum lies where kinks meet: generically
as many residuals are zero as there are free constants, P. Huber's function with a tiny δ only comes
near. From there the simplex method goes on, made for curves:

    1. zeros        P rows with small residuals and independent derivatives; Newton makes them zero
    2. multipliers  λ from the P equations above; all in [−1, 1]: done, and λ is the proof
    3. exchange     one with |λ_k| > 1 leaves: along the edge on which the other zeros stay, the sum
                    falls with slope 1 − |λ_k|, and by 2 |J_i d| less at each residual that turns
                    zero; where it no longer falls, that row comes in

Source: Barrodale & Roberts 1973, SIAM J. Numer. Anal. 10:839; Osborne & Watson 1971, Computer J.
14:184 (the linear method as a step of a non-linear one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array

Linear = Callable[[Array], tuple[Array, Array]]  # theta (P,) -> residuals (n,), derivatives (n, P)
ZERO = 1e-13  # residuals up to this are zero
EXCHANGES, NEWTON = 200, 25


class Certificate(NamedTuple):
    """What shows that a point minimises Σ|r|."""

    zeros: int  # residuals that are zero
    needed: int  # of them at a generic minimum: the free constants that change any residual
    largest_multiplier: float  # |λ|, at most 1 at a minimum
    unbalanced: (
        float  # largest |Σ sign(r) J + Σ λ J| with λ clipped to [−1, 1], as a share of Σ |J|
    )


def least_absolute(
    linear: Linear, theta: Array, free: Array, delta: float
) -> tuple[Array, Certificate]:
    """The minimum of Σ|r| next to theta (P,), a minimum of Huber's function with a tiny delta, of
    which the coordinates ``free`` may move."""
    r, j = linear(theta)
    nearest = np.argsort(np.abs(r), kind="stable")
    moving = free & moves(j)
    zeros = independent(j[:, moving], nearest[np.abs(r[nearest]) < delta])
    here = stationary(linear, theta, moving, zeros)
    for _ in range(EXCHANGES if here is not None else 0):
        r, j = linear(here)
        moving = free & moves(j)
        zeros = independent(j[:, moving], zeros)
        for other in exchanges(r, j[:, moving], zeros):
            there = stationary(linear, here, moving, other)
            if there is not None and total(linear, there) < np.abs(r).sum() * (1 - 1e-13):
                here, zeros = there, other
                break
        else:
            break
    if here is None or total(linear, here) > total(linear, theta):
        here = theta
    r, j = linear(here)
    return here, certificate(r, j[:, free & moves(j)])


def moves(j: Array) -> Array:
    """The constants (P,) that change any residual: a floor that has vanished does not."""
    return np.abs(j).max(axis=0) > 1e-7


def total(linear: Linear, theta: Array) -> float:
    """Σ|r|."""
    return float(np.abs(linear(theta)[0]).sum())


def independent(j: Array, order: Array) -> Array:
    """The first rows of j (n, P) in this order whose derivatives are independent: P positions, or
    fewer if j has a lower rank."""
    chosen: list[int] = []
    basis = np.zeros((0, j.shape[1]))
    scaled = j / (np.sqrt((j**2).sum(axis=0)) + 1e-300)
    for i in order:
        rest = scaled[i] - basis.T @ (basis @ scaled[i])
        length = np.sqrt(rest @ rest)
        if length > 1e-4 * np.sqrt(scaled[i] @ scaled[i]):
            chosen.append(int(i))
            basis = np.vstack([basis, rest / length])
        if len(chosen) == j.shape[1]:
            break
    return np.array(chosen, int)


def stationary(linear: Linear, theta: Array, moving: Array, zeros: Array) -> Array | None:
    """Newton's method for r = 0 in the rows ``zeros`` and, if they are fewer than the constants,
    for the equations of the multipliers; None if it does not get there."""
    theta, n_free, m = theta.copy(), int(moving.sum()), len(zeros)
    for _ in range(NEWTON):
        r, j = linear(theta)
        if not (np.isfinite(r).all() and np.isfinite(j).all()):
            return None
        j = j[:, moving]
        if m == n_free:
            step = -np.linalg.lstsq(j[zeros], r[zeros], rcond=1e-12)[0]
        else:
            weights = np.sign(r)
            weights[zeros] = 0.0
            pull = weights @ j
            weights[zeros] = -np.linalg.lstsq(j[zeros].T, pull, rcond=1e-12)[0]
            system = np.zeros((n_free + m, n_free + m))
            system[:n_free, :n_free] = bend(linear, theta, moving, weights)
            system[:n_free, n_free:], system[n_free:, :n_free] = j[zeros].T, j[zeros]
            step = -np.linalg.lstsq(system, np.append(weights @ j, r[zeros]), rcond=1e-12)[0]
            step = step[:n_free]
        theta[moving] += step / max(1.0, float(np.abs(step).max()))  # at most 1 in any coordinate
        if np.abs(step).max() <= 1e-14 * (1.0 + np.abs(theta).max()):
            break
    r = linear(theta)[0]
    return theta if np.isfinite(r).all() and np.abs(r[zeros]).max(initial=0.0) <= ZERO else None


def bend(linear: Linear, theta: Array, moving: Array, weights: Array) -> Array:
    """The second derivatives of Σ w_i r_i, (P, P), from differences of the first."""
    rows = []
    for step in 1e-5 * np.eye(len(theta))[moving]:
        ahead, behind = (linear(theta + sign * step)[1][:, moving] for sign in (1.0, -1.0))
        rows.append(weights @ (ahead - behind) / 2e-5)
    return 0.5 * (np.array(rows) + np.array(rows).T)


def exchanges(r: Array, j: Array, zeros: Array) -> Iterator[Array]:
    """Sets of zeros that may be better than this one, the most promising first; none if as many
    residuals are zero as there are constants and all multipliers lie in [−1, 1]."""
    sign = np.sign(r)
    sign[zeros] = 0.0
    inverse = np.linalg.pinv(j[zeros])
    multipliers = -(sign @ j) @ inverse
    for k in np.argsort(-np.abs(multipliers)):
        slope = 1.0 - abs(multipliers[k])
        if slope >= -1e-10:
            break
        change = j @ inverse[:, k] * np.sign(multipliers[k])  # of each residual along the edge
        change[zeros] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(change != 0.0, -r / change, -1.0)
        passed = []
        for i in np.argsort(np.where(at > 0.0, at, np.inf)):
            if at[i] <= 0.0:
                break
            passed.append(i)
            slope += 2.0 * abs(change[i])
            if slope >= 0.0:
                break
        for i in reversed(passed[-5:]):  # where the law bends much an earlier one may be better
            yield np.append(np.delete(zeros, k), i)
        yield np.delete(zeros, k)  # or the sum is lowest before any residual turns zero
    if len(zeros) < j.shape[1]:
        outside = np.setdiff1d(np.argsort(np.abs(r))[: 2 * j.shape[1]], zeros)
        for i in outside:
            yield np.append(zeros, i)


def certificate(r: Array, j: Array) -> Certificate:
    """Multipliers of the zeros of r (n,), with derivatives j (n, P), and what they leave over."""
    zero = np.abs(r) <= ZERO
    pull = np.where(zero, 0.0, np.sign(r)) @ j
    rows = j[zero]
    multipliers = -np.linalg.lstsq(rows.T, pull, rcond=1e-12)[0] if zero.any() else np.zeros(0)
    free = float(np.abs(multipliers).max(initial=0.0))
    multipliers = np.clip(multipliers, -1.0, 1.0)
    if free > 1.0 and zero.sum() > j.shape[1]:  # more zeros than constants: λ is not unique
        for _ in range(1000):
            for i, row in enumerate(rows):
                rest = pull + multipliers @ rows
                if row @ row > 0.0:
                    multipliers[i] = np.clip(multipliers[i] - rest @ row / (row @ row), -1.0, 1.0)
        free = float(np.abs(multipliers).max())
    scale = np.abs(j).sum(axis=0) + 1e-300
    over = float((np.abs(pull + multipliers @ rows) / scale).max(initial=0.0))
    return Certificate(int(zero.sum()), j.shape[1], free, over)
