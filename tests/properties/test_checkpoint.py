"""§5.3 Checkpoints: whatever finite numbers go in come out with the same bits, or not at all."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FINITE = {"allow_nan": False, "allow_infinity": False}


def arrays(**numbers):
    """Float arrays of any layout, empty ones too; −0, the least and the largest among numbers."""
    return (
        st.sampled_from([np.float32, np.float64])
        .flatmap(
            lambda dtype: hnp.arrays(
                dtype,
                hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
                elements=st.floats(width=np.finfo(dtype).bits, **numbers),
            )
        )
        .flatmap(lambda a: st.sampled_from([a, a.T, a[::-1] if a.ndim else a]))
    )


def groups(**numbers):
    return st.dictionaries(NAMES, arrays(**numbers), max_size=4)


CHECKPOINTS = st.builds(
    Checkpoint,
    parameters=groups(**FINITE),
    optimizer=groups(**FINITE),
    step=st.integers(0, 2**63 - 1),
    progress=st.dictionaries(
        NAMES, st.floats(**FINITE) | st.integers(-(2**63), 2**63 - 1), max_size=3
    ),
    run=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Without waiting for the disk: what a crash leaves is for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("run") / "checkpoint.safetensors"


@given(CHECKPOINTS)
def test_a_round_trip_keeps_every_bit(path, checkpoint):
    save_checkpoint(path, checkpoint)
    again = load_checkpoint(path)
    assert (again.step, again.run) == (checkpoint.step, checkpoint.run)
    assert repr(sorted(again.progress.items())) == repr(sorted(checkpoint.progress.items()))
    for group in ("parameters", "optimizer"):
        before, after = getattr(checkpoint, group), getattr(again, group)
        assert before.keys() == after.keys()
        for name, array in before.items():
            found = after[name]
            assert (found.shape, found.dtype) == (array.shape, array.dtype)
            assert found.tobytes() == array.tobytes()
    written = path.read_bytes()
    save_checkpoint(path, again)
    assert path.read_bytes() == written


@given(CHECKPOINTS, st.data(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_number_that_is_none_is_refused(path, checkpoint, data, value):
    array = np.array(data.draw(arrays(**FINITE).filter(np.size)))
    array[data.draw(st.sampled_from(list(np.ndindex(array.shape))))] = value
    group = data.draw(st.sampled_from([checkpoint.parameters, checkpoint.optimizer]))
    group["bad"] = array
    save_checkpoint(path, checkpoint)
    with pytest.raises(ValueError, match=r"holds NaN or infinity in \w+\.bad"):
        load_checkpoint(path)
