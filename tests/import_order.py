"""The order of imports, from ground to roof: here it stands once.

A module imports what stands before it or beside it, also inside functions. CONTRIBUTING quotes it.
"""

ORDER = (
    "files", "parameters", "layers", "models", "objectives", "optim", "fast", "gradcheck", "data",
    "baselines", "parallel", "generation", "tasks", "training", "hub", "pipelines",
    "scaling.laws", "scaling.fit", "scaling.experiment", "plots", "scaling.report", "cost", "book",
    "cli", "__main__",
)  # fmt: skip


def rank(module: str) -> int:
    """Where a module (without "numpylm.") stands; ``AssertionError`` if it has no place."""
    found = [i for i, name in enumerate(ORDER) if f"{module}.".startswith(f"{name}.")]
    assert found, f"{module} has no place in the order of imports"
    return max(found, key=lambda i: len(ORDER[i]))
