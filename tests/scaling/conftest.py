"""Known laws and grids; public data, which NUMPYLM_DATA leads to: the project carries none."""

import os
from pathlib import Path

import numpy as np
import pytest

from numpylm.scaling.fit.fitting import predict
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.laws.forms import FORMS

CHINCHILLA = {"A": 60.0, "alpha": 0.4, "B": 1200.0, "beta": 0.45, "E": 1.0}
KAPLAN = {"N_c": 8.8e9, "alpha_N": 0.116, "D_c": 2e11, "alpha_D": 0.127}


@pytest.fixture(scope="session")
def scaling_data() -> Path:
    folder = Path(os.environ.get("NUMPYLM_DATA", "")) / "scaling"
    if not (folder / "cs336").is_dir():
        pytest.skip("set NUMPYLM_DATA to a folder that holds scaling/cs336 and its neighbours")
    return folder


@pytest.fixture(scope="session")
def gemstones(scaling_data):
    path = scaling_data / "gemstones" / "wandb_df_for_fitting_cool_end.jsonl"
    names = {"N": "params_active_precise", "D": "tokens", "loss": "final_loss", "run": "run_name"}
    return read_runs(path, names)


@pytest.fixture(scope="session")
def datablations(scaling_data):
    path = scaling_data / "datablations" / "datablations_182.csv"
    return read_runs(path, {"N": "params", "D": "tokens", "U": "unique_tokens"})


def grid(budgets=(3e10, 1e11, 3e11, 1e12, 3e12), sizes=6):
    """N, D and C of a plan: several sizes around the optimum at each budget."""
    compute = np.repeat(budgets, sizes)
    n = np.sqrt(compute / 450.0) * np.tile(np.geomspace(0.2, 5.0, sizes), len(budgets))
    return np.stack([n, compute / (6.0 * n)], axis=1), compute


def losses(form, constants, x):
    """What the law says, without noise."""
    law, centre = FORMS[form], np.zeros(x.shape[1])
    return predict(law, law.theta(constants, centre)[None], centre, x)[0]
