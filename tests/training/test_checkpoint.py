"""§5.3 Checkpoints: exact, verified, and never half written."""

import errno
import json
import os
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpylm.files import write_atomically
from numpylm.parameters import pack
from numpylm.training.checkpoint import (
    Checkpoint,
    _digest,
    copy_into,
    load_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def checkpoint(rng):
    return Checkpoint(
        {"a.weight": rng.standard_normal((3, 4)).astype(np.float32), "a.bias": np.float32([1, 2])},
        {"m": rng.standard_normal(14).astype(np.float32)},
        step=7,
        progress={"loss_sum": 0.1 + 0.2, "tokens": 10**12},
        run="fingerprint",
    )


@pytest.fixture
def saved(checkpoint, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint)
    return path


def test_round_trip_is_exact(checkpoint, saved):
    again = load_checkpoint(saved)
    assert again.step == 7
    assert again.progress == checkpoint.progress
    assert again.run == "fingerprint"
    for group in ("parameters", "optimizer"):
        before, after = getattr(checkpoint, group), getattr(again, group)
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], strict=True)


def test_a_transposed_array_is_written_as_it_reads(checkpoint, saved):
    """safetensors writes memory as it lies: what was saved could not be loaded."""
    checkpoint.parameters["a.weight"] = checkpoint.parameters["a.weight"].T
    save_checkpoint(saved, checkpoint)
    np.testing.assert_array_equal(
        load_checkpoint(saved).parameters["a.weight"], checkpoint.parameters["a.weight"]
    )


def test_the_whole_field_can_read_it(saved):
    assert set(load_file(saved)) == {"parameters.a.weight", "parameters.a.bias", "optimizer.m"}


def test_every_flipped_byte_is_found(saved):
    """Or it changes nothing, like the 17th digit of a number."""
    data, before = saved.read_bytes(), load_checkpoint(saved)
    found = 0
    for position in range(0, len(data), 7):
        saved.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            assert repr(load_checkpoint(saved)) == repr(before)
        except ValueError as error:
            found += bool(re.search("damaged|not a checkpoint", str(error)))
    assert found >= len(data) // 7 - 2


def test_every_truncation_is_found(saved):
    data = saved.read_bytes()
    for length in range(0, len(data), 5):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match="damaged"):
            load_checkpoint(saved)


def test_other_files_are_refused(tmp_path, saved):
    with pytest.raises(ValueError, match=r"has no checkpoint \(missing.safetensors is missing\)"):
        load_checkpoint(tmp_path / "missing.safetensors")
    save_file({"x": np.zeros(2)}, saved)
    with pytest.raises(ValueError, match="not a checkpoint of numpylm"):
        load_checkpoint(saved)
    save_file({"x": np.zeros(2)}, saved, {"numpylm": json.dumps({"version": 3})})
    with pytest.raises(ValueError, match="version 3, this program reads 1 to 2"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "header", ["", "[]", "{", '{"version": 1}', '{"version": 1, "sha256": "0"}', "[" * 10**5]
)
def test_a_crafted_header_is_refused(saved, header):
    save_file({"x": np.zeros(2)}, saved, {"numpylm": header})
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "change", [{"step": -1}, {"step": "7"}, {"progress": []}, {"progress": {"a": "b"}}, {"run": 1}]
)
def test_a_header_with_a_right_checksum_is_checked_too(checkpoint, saved, change):
    arrays = load_file(saved)
    header = {"version": 1, "step": 7, "progress": {}, "run": "", **change}
    header["sha256"] = _digest(arrays, header)
    save_file(arrays, saved, {"numpylm": json.dumps(header)})
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(saved)


def test_equal_checkpoints_make_equal_files(checkpoint, saved, tmp_path):
    for i in range(5):
        save_checkpoint(tmp_path / str(i), checkpoint)
        assert (tmp_path / str(i)).read_bytes() == saved.read_bytes()


def test_nan_is_refused(checkpoint, tmp_path):
    checkpoint.parameters["a.bias"][0] = np.nan
    save_checkpoint(tmp_path / "c", checkpoint)
    with pytest.raises(ValueError, match=r"NaN or infinity in parameters.a.bias"):
        load_checkpoint(tmp_path / "c")


def test_a_checkpoint_must_fit_the_model(saved):
    loaded = load_checkpoint(saved).parameters
    tree = {"a": {"weight": np.zeros((3, 4), np.float32), "bias": np.zeros(2, np.float32)}}
    theta, p = pack(tree)
    copy_into(p, loaded, saved)
    np.testing.assert_array_equal(p["a"]["weight"], loaded["a.weight"])
    np.testing.assert_array_equal(theta[-2:], [1, 2])
    with pytest.raises(ValueError, match=r"missing or extra a.bias"):
        copy_into({"a": {"weight": np.zeros((3, 4), np.float32)}}, loaded, saved)
    tree["a"]["bias"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"a.bias is float32 \(2,\), not float32 \(3,\)"):
        copy_into(tree, loaded, saved)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(checkpoint, saved, monkeypatch, call):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoint.step = 8
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(saved, checkpoint)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_text_is_written_as_utf8(tmp_path):
    write_atomically(tmp_path / "x", "§5 é\n")
    assert (tmp_path / "x").read_bytes() == "§5 é\n".encode()
