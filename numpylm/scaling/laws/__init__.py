"""The forms of scaling laws: a loss as a function of parameters, data and computation."""
