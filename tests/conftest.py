"""What every test gets: strict floating point, BLAS at one thread, and a seeded generator."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

# The same examples each time; HYPOTHESIS_PROFILE=search draws many new ones.
settings.register_profile("repeat", deadline=None, max_examples=30, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture(autouse=True)
def _strict_floating_point():
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def shakespeare_path() -> Path:
    """tinyshakespeare, which the project does not carry: NUMPYLM_DATA names the folder above it."""
    path = Path(os.environ.get("NUMPYLM_DATA", "")) / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("set NUMPYLM_DATA to a folder that holds tinyshakespeare/input.txt")
    return path


@pytest.fixture
def shakespeare(shakespeare_path: Path) -> str:
    return shakespeare_path.read_text()
