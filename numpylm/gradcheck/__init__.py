"""The gradient check: a hand-written backward against finite differences, and a check of the check.

check                 one backward against central differences of its forward
finite_differences    those differences, measured once for any number of backwards
diagnosis             what a wrong gradient probably suffers from
example_inputs        small inputs of sizes that differ pairwise
catalogue             every pair of the library, each with an example: a row
sections              the map of the book: which module serves which section
audit                 what a row is, and all rows checked one after the other
mutation/             wrong backwards on purpose: does the check see each of them?
"""

from numpylm.gradcheck.check import (
    BAR,
    GradientError,
    WrongGradient,
    check_gradients,
    compare,
    gradient_errors,
)

__all__ = [
    "BAR", "GradientError", "WrongGradient", "check_gradients", "compare", "gradient_errors",
]  # fmt: skip
