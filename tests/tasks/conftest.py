"""Each default data set, made once; and real ones, which the project does not carry."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from numpylm.tasks.dataset import Dataset
from numpylm.tasks.loading import TASKS


@pytest.fixture(scope="session")
def load_default() -> Callable[[str], Dataset]:
    """The default data set of a task by its name; tests must not change it."""
    return cache(lambda name: TASKS[name].data.load())


@pytest.fixture
def data_set() -> Callable[[str], Path]:
    """The path of a data set; NUMPYLM_DATA names the folder above it."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("NUMPYLM_DATA", "")) / name
        if not os.environ.get("NUMPYLM_DATA") or not path.exists():
            pytest.skip(f"set NUMPYLM_DATA to a folder that holds {name}")
        return path

    return find
