"""Quicker twins of formulas; importing this package adds each to the table beside its formula.

A twin gives what the formula gives, up to rounding, and stays only if a whole training step gains
by it. A configuration names the choice: ``implementation="fast"``.
"""

from numpylm.fast import attention, cross_entropy, gelu

IMPLEMENTATION = "fast"  # the name of the twins in the tables
__all__ = ["IMPLEMENTATION", "attention", "cross_entropy", "gelu"]
