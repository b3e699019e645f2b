"""Real data sets, which the project does not carry."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def data_set() -> Callable[[str], Path]:
    """The path of a data set; NUMPYLM_DATA names the folder above it."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("NUMPYLM_DATA", "")) / name
        if not os.environ.get("NUMPYLM_DATA") or not path.exists():
            pytest.skip(f"set NUMPYLM_DATA to a folder that holds {name}")
        return path

    return find
