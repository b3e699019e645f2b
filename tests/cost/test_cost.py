"""§1.2 What a run will cost, against what it keeps and takes when it is made."""

import dataclasses
import json
import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from numpylm.cli import main
from numpylm.cost.energy import emissions
from numpylm.cost.memory import (
    activation_bytes,
    backward_bytes,
    free_bytes,
    model_bytes,
    process_bytes,
    run_bytes,
)
from numpylm.cost.run_cost import predict_cost, step_flops
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.counting import training_flops
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.objectives.denoising import denoising_backward, denoising_forward
from numpylm.objectives.fine_tuning import classification_backward, classification_forward
from numpylm.objectives.masked import masked_lm_backward, masked_lm_forward
from numpylm.objectives.next_sentence import bert_pretraining_backward, bert_pretraining_forward
from numpylm.parameters import view
from numpylm.tasks.causal import CausalLM
from numpylm.tasks.classification import Classification
from numpylm.tasks.labelling import Labelling
from numpylm.tasks.masked import Masked
from numpylm.tasks.next_sentence import Bert
from numpylm.tasks.task import Shape
from numpylm.tasks.toy import Copy
from numpylm.training.presets import preset

V, B, T, S = 300, 12, 40, 56  # tokens, sequences, lengths of target and source


def batch_of(kind, rng):
    ids, labels = rng.integers(0, V, (B, T)), rng.integers(0, 2, B)
    if kind == "seq2seq":
        source = rng.integers(0, V, (B, S))
        return {"source": source, "target_in": ids, "target_out": ids}
    if kind == "gpt":
        return {"ids": ids, "targets": ids}
    targets = np.where(rng.random((B, T)) < 0.15, ids, IGNORE)
    return {
        "masked": {"ids": ids, "targets": targets},
        "bert": {"ids": ids, "segments": 0 * ids, "targets": targets, "labels": labels},
        "classifier": {"ids": ids, "labels": labels},
        "labelling": {"ids": ids, "labels": ids % 5},
    }[kind]


LABELS = {"classifier": {"n_labels": 2}, "labelling": {"n_labels": 5, "pooled": False}}
KINDS = {
    "gpt": (GPTConfig, gpt_init, causal_lm_forward, causal_lm_backward),
    "seq2seq": (Seq2SeqConfig, seq2seq_init, denoising_forward, denoising_backward),
    "masked": (BERTConfig, bert_init, masked_lm_forward, masked_lm_backward),
    "bert": (BERTConfig, bert_init, bert_pretraining_forward, bert_pretraining_backward),
    "classifier": (ClassifierConfig, classifier_init, classification_forward,
                   classification_backward),
    "labelling": (ClassifierConfig, classifier_init, classification_forward,
                  classification_backward),
}  # fmt: skip
TASK = {"gpt": CausalLM, "seq2seq": Copy, "masked": Masked, "bert": Bert,
        "classifier": Classification, "labelling": Labelling}  # fmt: skip


def kept_bytes(cache, parameters):
    """Bytes of every float array that a cache holds or has a view of, each once."""
    found = {}

    def walk(node):
        if isinstance(node, np.ndarray):
            while isinstance(node.base, np.ndarray):
                node = node.base
            if node.dtype == np.float32 and node is not parameters:
                found[id(node)] = node.nbytes
        elif isinstance(node, tuple | list):
            for child in node:
                walk(child)

    walk(cache)
    return sum(found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "choices",
    [
        {"norm": "pre", "activation": "gelu", "dropout": 0.0},
        {"norm": "pre", "activation": "gelu", "dropout": 0.0, "implementation": "fast"},
        {"norm": "post", "activation": "relu", "dropout": 0.1},
        {"norm": "pre", "activation": "relu", "dropout": 0.1, "n_heads": 8},
    ],
    ids=["pre-gelu", "pre-gelu-fast", "post-relu-dropout", "pre-relu-dropout"],
)
def test_memory_is_what_the_forward_keeps_and_the_backward_reaches(kind, choices, rng):
    """The activations to 1.5 %, the peak of forward and backward, by tracemalloc, to 12 %."""
    shape = {"vocab_size": V, "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 192, "context": S}
    config_class, init, forward, backward = KINDS[kind]
    config = config_class(**shape | choices | LABELS.get(kind, {}))
    theta, p = init(0, config)
    dp, batch = view(p, np.zeros_like(theta)), batch_of(kind, rng)
    forward(p, **batch, config=config, rng=rng)  # fills the tables of positions and masks
    tracemalloc.start()
    _, cache = forward(p, **batch, config=config, rng=rng)
    kept = kept_bytes(cache, theta)
    backward(p, dp, np.float32(1.0), cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    counted = activation_bytes(config, TASK[kind].shape(batch))
    assert sum(counted.values()) == pytest.approx(kept, rel=0.015)
    assert ("dropout masks" in counted) == (config.dropout > 0)
    backward_at_most = backward_bytes(config, TASK[kind].shape(batch))
    assert sum(counted.values()) + backward_at_most == pytest.approx(peak, rel=0.12)


def test_attention_weights_grow_with_the_square_of_the_length():
    config = GPTConfig(vocab_size=V, d_model=64, n_layers=2, n_heads=4, d_ff=192, context=256)
    short, long = (activation_bytes(config, Shape(B, t, None, None, 0)) for t in (64, 256))
    assert long["attention weights"] == 16 * short["attention weights"]
    assert long["feed-forward"] == 4 * short["feed-forward"]


def test_the_peak_is_a_step_an_evaluation_or_a_checkpoint():
    config = GPTConfig(vocab_size=V, d_model=64, n_layers=2, n_heads=4, d_ff=192, context=64)
    step, large, tiny = (Shape(b, 64, None, None, 0) for b in (32, 128, 1))
    how = {"threads": 1, "moments": 2}
    lasting = model_bytes(1000, threads=2, moments=1)
    assert lasting == {"parameters": 4000, "gradients": 8000, "optimiser": 4000}
    assert "backward" in run_bytes(config, 1000, [step], [tiny], **how)
    assert "logits (evaluation)" in run_bytes(config, 1000, [step], [large] * 2, **how)
    both = run_bytes(config, 1000, [step], [large] * 2, threads=2, moments=2)
    half = sum(activation_bytes(config, step).values()) // 2
    kept = both.get("steps (other processes)", 0)
    assert half < kept < 2 * half if sys.platform == "linux" else kept == 0
    saving = run_bytes(config, 10**8, [tiny], [tiny], **how)
    assert saving == model_bytes(10**8, **how) | {"checkpoint (saving)": 2 * 3 * 4 * 10**8}


def test_flops_of_a_step_are_those_of_the_counting(rng):
    config = Seq2SeqConfig(vocab_size=V, d_model=64, n_layers=2, n_heads=4, d_ff=192, context=S)
    shape = Copy.shape(batch_of("seq2seq", rng))
    assert shape == Shape(B, T, S, None, 0)
    assert step_flops(config, shape) == training_flops(config, B, T, source_length=S)


def test_energy_and_co2_by_hand():
    """The published training of GPT-3 (Patterson et al. 2021, Table 4): 1,287 MWh and 552.1 t."""
    kwh, grams = emissions(14.8 * 86400, watts=10_000 * 330, pue=1.10, grid=429)
    assert kwh == pytest.approx(1_287_000, rel=0.005)
    assert grams == pytest.approx(552.1e6, rel=0.005)
    assert emissions(3600, 1000, 1.0, 475) == (1.0, 475.0)
    for wrong in ({"watts": -1}, {"pue": 0.9}, {"grid": math.nan}, {"watts": math.inf}):
        with pytest.raises(ValueError, match="must be at least"):
            emissions(1.0, **{"watts": 1.0, "pue": 1.0, "grid": 1.0} | wrong)


SMALL = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--d-ff", "32", "--steps", "40"]


@pytest.fixture
def quick(monkeypatch):
    """Time steps no longer than the five that are needed."""
    import numpylm.cost.run_cost

    original = numpylm.cost.run_cost.predict_cost
    monkeypatch.setattr(
        numpylm.cost.run_cost, "predict_cost", lambda c, **o: original(c, **o, seconds=0.0)
    )


@pytest.mark.parametrize("objective", ["causal", "bert", "deletion", "classification", "reverse"])
def test_dry_run_of_every_kind_leaves_no_trace(objective, tmp_path, monkeypatch, capsys, quick):
    monkeypatch.chdir(tmp_path)
    options = [*SMALL, "--objective", objective, "--batch-size", "4", "--dry-run", "--json"]
    assert main(["train", *options, "--watts", "100", "--pue", "1.5", "--grid", "50"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    assert figures["parameters"] == sum(figures["parameters_by_part"].values())
    assert figures["memory_mib"] == pytest.approx(sum(figures["memory_by_part_mib"].values()))
    assert figures["flops"] == pytest.approx(
        1e9 * figures["gflops"] * figures["training_seconds"], rel=1e-9
    )
    assert figures["energy_kwh"] == pytest.approx(100 * 1.5 * figures["minutes"] / 60 / 1000)
    assert figures["co2_g"] == pytest.approx(50 * figures["energy_kwh"])
    assert figures["evaluations"] == 2
    assert not figures["watts_assumed"]


def test_dry_run_prints_what_it_assumes(tmp_path, monkeypatch, capsys, quick):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--threads", "1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for word in ("parameters  ", "FLOPs", "MiB: process and data", "min: ", "12 a thread", "475 g"):
        assert word in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--watts", "5"], "watts is read with --dry-run only"),
        (["--dry-run", "--pue", "0.5"], "pue 0.5 at least 1"),
        (["--dry-run", "--grid", "nan"], "grid nan must be at least 0"),
        (["--dry-run", "--resume", "runs/x"], "leave out --resume"),
        (["--dry-run", "--corpus", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_a_wrong_dry_run_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_that_does_not_fit_is_counted_but_not_timed(monkeypatch, capsys):
    monkeypatch.setattr("numpylm.cost.run_cost.free_bytes", lambda: 1000)
    figures = predict_cost(dataclasses.replace(preset("toy"), corpus="generated"))
    assert figures["minutes"] is figures["co2_g"] is figures["gflops"] is None
    assert figures["memory_mib"] > 1
    from numpylm.cli.printing import print_cost

    print_cost(figures)
    assert "not as much memory free" in capsys.readouterr().out


RUN = """
import json, sys
from numpylm.cli.parser import _parser
from numpylm.cost.run_cost import predict_cost
from numpylm.cli.run_setup import chosen_settings, started
from tests.peak import PeakMemory

arguments = _parser().parse_args(["train", *sys.argv[1:]])
if "--dry-run" in sys.argv:
    print(predict_cost(chosen_settings(arguments), seconds=0.0)["memory_mib"])
else:
    with PeakMemory() as peak:
        started(arguments).fit(log=None)
    print(peak.mib)
"""


@pytest.mark.skipif(process_bytes() == (0, 0), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "options",
    [
        ["--context", "256", "--batch-size", "16", "--dropout", "0.1", "--steps", "3"],
        ["--tokenizer", "word", "--d-model", "256", "--d-ff", "256", "--steps", "2"],
    ],
    ids=["activations", "parameters"],
)
def test_peak_memory_of_a_process_is_as_predicted(options, tmp_path):
    """To 25 %, between a process that predicts and one that trains, with all its processes."""
    command = [sys.executable, "-c", RUN, *options, "--runs", str(tmp_path)]
    made, predicted = (
        float(subprocess.run(c, check=True, capture_output=True, text=True).stdout)
        for c in (command, [*command, "--dry-run"])
    )
    assert predicted == pytest.approx(made, rel=0.25)
    assert free_bytes() > 2**20
