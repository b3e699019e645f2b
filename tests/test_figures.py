"""The main figures of the README, made again: each takes minutes, so none runs by default."""

import json

import pytest

from numpylm.cli import main


def trained(capsys, *options):
    """The result of a training, as ``--json`` prints it."""
    assert main(["train", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_default_run_is_clearly_below_the_trigram(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = trained(capsys)
    assert result["val_loss"] < 0.85 * result["baselines"]["trigram"]


@pytest.mark.long
def test_nanogpt_cpu_learns_what_nanogpt_learns(tmp_path, monkeypatch, capsys, shakespeare_path):
    """nanoGPT itself, with the same settings: 1.898 over the same 1742 windows."""
    monkeypatch.chdir(tmp_path)
    result = trained(capsys, "--preset", "nanogpt-cpu", "--corpus", str(shakespeare_path))
    assert result["val_loss"] <= 1.90


@pytest.mark.slow
def test_pytorch_takes_at_least_three_quarters_of_our_time_for_a_step():
    pytest.importorskip("torch")
    from tests.benchmarks.train_step import compare

    assert compare("a", turns=10, steps=10, rivals=["pytorch"])["pytorch"]["ratio"] >= 0.75
