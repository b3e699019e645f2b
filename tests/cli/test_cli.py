"""§3.3 The command line: every bad input is one clear line and exit status 2, nothing is lost."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from numpylm.cli import main
from numpylm.gradcheck import catalogue
from tests.signals import needs_ctrl_c

SMALL = [
    "--n-layers", "1", "--n-heads", "2", "--d-model", "8", "--d-ff", "16", "--context", "8",
    "--batch-size", "4", "--eval-every", "5", "--warmup", "2", "--lr", "0.01",
]  # fmt: skip
TEXT = "the quick brown fox jumps over the lazy dog\n" * 30


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a small text in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def train(*options, steps=10, name="run"):
    size = ["--steps", str(steps), "--name", name, "--corpus", "text.txt"]
    return main(["train", *SMALL, *size, *options])


def test_train_generate_evaluate(here, capsys):
    assert train() == 0
    printed = capsys.readouterr().out
    for word in ("parameters", "step     10", "unigram", "trigram", "this model", "a sample"):
        assert word in printed
    assert {p.name for p in (here / "runs" / "run").iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoint.safetensors", "tokenizer.json", "loss.png",
    }  # fmt: skip
    assert (here / "runs/run/loss.png").read_bytes().startswith(b"\x89PNG")

    assert main(["generate", "runs/run", "--prompt", "the ", "--tokens", "20"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the ")
    assert len(written) == 4 + 20 + 1
    assert main(["generate", "runs/run", "--prompt", "the ", "--tokens", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == written[:-1]
    twenty = ["generate", "runs/run", "--prompt", "the ", "--tokens", "20"]
    assert main([*twenty, "--seed", "1"]) == 0
    second = capsys.readouterr().out
    assert main([*twenty, "--samples", "2"]) == 0
    assert capsys.readouterr().out == f"{written}---\n{second}"
    assert main([*twenty, "--samples", "2", "--json"]) == 0
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == [written[:-1], second[:-1]]

    assert main(["evaluate", "runs/run", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    metrics = [json.loads(m) for m in (here / "runs/run/metrics.jsonl").read_text().splitlines()]
    assert figures["loss"] == pytest.approx(metrics[-1]["val_loss"], rel=1e-12)
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
    assert figures["bits_per_token"] == pytest.approx(figures["loss"] / np.log(2))
    assert main(["evaluate", "runs/run", "--text", "text.txt"]) == 0
    assert "perplexity" in capsys.readouterr().out


def test_json_is_the_only_output(here, capsys):
    assert train("--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["step"] == 10
    assert result["run"] == os.path.join("runs", "run")


def test_a_second_default_run_takes_the_next_name(here, capsys):
    for _ in range(2):
        assert main(["train", *SMALL, "--steps", "3", "--corpus", "text.txt"]) == 0
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["tiny", "tiny-2"]


def test_gradcheck_prints_every_pair_and_a_wrong_bar_fails(capsys):
    assert main(["gradcheck"]) == 0
    printed = capsys.readouterr().out
    for name in ("linear", "layer_norm", "attention", "multi_head", "gpt", "causal_lm"):
        assert name in printed
    assert "every gradient is right" in printed
    assert main(["gradcheck", "--json", "--bar", "0"]) == 1
    assert max(row["worst_error"] for row in json.loads(capsys.readouterr().out)) > 0


def test_gradcheck_marks_rows_and_shows_the_lowest_first(monkeypatch, capsys):
    pairs = {p.name: p for p in catalogue.PAIRS}
    gpt = pairs["gpt pre-norm, learned, tied"]

    def transposed(p, dp, dy, cache):
        return dy @ dy

    def doubled(dy, cache):
        return 2.0 * pairs["gelu"].backward(dy, cache)

    doubled.__module__ = pairs["gelu"].backward.__module__
    transposed.__module__ = gpt.backward.__module__
    chosen = [
        dataclasses.replace(gpt, backward=transposed),
        pairs["softmax"],
        dataclasses.replace(pairs["gelu"], backward=doubled),
    ]
    monkeypatch.setattr(catalogue, "PAIRS", chosen)
    assert main(["gradcheck"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("WRONG") for line in lines[:3]] == [True, False, True]
    assert "gpt" in lines[0]
    assert "ValueError: matmul" in lines[0]
    (start,) = (i for i, line in enumerate(lines) if line.startswith("WRONG: 2"))
    assert lines[start + 1] == "  gelu"
    assert "input 0 `x`" in lines[start + 2]
    assert "2 times the right one everywhere" in lines[start + 2]
    assert lines[start + 3].startswith("  gpt pre-norm, learned, tied: ValueError: matmul")


def test_bench_json(here, capsys):
    size = SMALL[: SMALL.index("--eval-every")]
    assert main(["bench", *size, "--seconds", "0.1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    names = {"ms_per_step", "tokens_per_second", "gflops", "gemm_peak_gflops", "mfu"}
    assert names <= set(figures)
    assert all(figures[name] > 0 for name in names)
    assert figures["mfu"] == pytest.approx(figures["gflops"] / figures["gemm_peak_gflops"])


def refused(capsys, *argv):
    """The one line that a refused command prints."""
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("numpylm: error: ")
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corpus", "nowhere.txt"], "'nowhere.txt' is neither"),
        (["--corpus", "."], "has no train.txt"),
        (["--corpus", "empty.txt"], "is empty"),
        (["--corpus", "short.txt"], "training text has 4 tokens, a context of 64 needs 65"),
        (["--corpus", "binary.txt"], "binary file"),
        (["--corpus", "latin.txt"], "not UTF-8"),
        (["--corpus", "text.txt", "--context", "500"], "validation text has 132 tokens"),
        (["--d-model", "510", "--n-heads", "8"], "d_model 510 is not divisible by n_heads 8"),
        (["--n-layers", "0"], "n_layers is 0"),
        (["--d-model", "-8"], "d_model is -8"),
        (["--batch-size", "-1"], "batch_size is -1"),
        (["--steps", "0"], "steps is 0"),
        (["--lr", "-1"], "lr is -1.0"),
        (["--dropout", "1.5"], "dropout 1.5"),
        (["--preset", "enormous"], "preset 'enormous' is none of"),
        (["--name", "../escape"], "must be a plain folder name"),
        (["--name", ".."], "must be a plain folder name"),
        (["--name", ""], "must be a plain folder name"),
        (["--resume", "nothing"], "not a run folder"),
    ],
)
def test_bad_input_to_train_writes_nothing(here, capsys, options, message):
    (here / "empty.txt").write_text("")
    (here / "short.txt").write_text("short")
    (here / "binary.txt").write_bytes(b"text\0more")
    (here / "latin.txt").write_bytes("naïve".encode("latin-1"))
    assert message in refused(capsys, "train", *options)
    assert not (here / "runs").exists()


def test_unknown_options_exit_with_two(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "--tokenizer", "unigram"])
    assert exit_.value.code == 2
    assert "invalid choice: 'unigram'" in capsys.readouterr().err


def test_bad_input_to_a_run(here, capsys):
    assert train() == 0
    capsys.readouterr()
    before = (here / "runs/run/checkpoint.safetensors").read_bytes()
    assert "does not know 'Q' '!'" in refused(capsys, "generate", "runs/run", "--prompt", "Q!")
    assert "temperature is -1" in refused(capsys, "generate", "runs/run", "--temperature", "-1")
    assert "top_p is 2.0" in refused(capsys, "generate", "runs/run", "--top-p", "2")
    assert "has no test split" in refused(capsys, "evaluate", "runs/run", "--split", "test")
    assert "seed is -1" in refused(capsys, "generate", "runs/run", "--seed", "-1")
    assert "samples is 0" in refused(capsys, "generate", "runs/run", "--samples", "0")
    assert "leave out --preset" in refused(
        capsys, "train", "--resume", "runs/run", "--preset", "wikitext2"
    )
    assert "not a run folder" in refused(capsys, "train", "--resume", "")
    assert "holds a run already" in refused(
        capsys, "train", *SMALL, "--corpus", "text.txt", "--name", "run"
    )
    line = refused(capsys, "train", "--resume", "runs/run", "--lr", "0.5")
    assert "was started with lr 0.01" in line
    (here / "text.txt").write_text(TEXT.upper())
    assert "has changed" in refused(capsys, "train", "--resume", "runs/run")
    assert "has changed" in refused(capsys, "evaluate", "runs/run")
    assert (here / "runs/run/checkpoint.safetensors").read_bytes() == before


def test_words_that_are_not_known_become_unk(here, capsys):
    assert train("--tokenizer", "word", "--context", "4") == 0
    assert main(["generate", "runs/run", "--prompt", "zebra the", "--tokens", "3"]) == 0
    assert "zebra" in capsys.readouterr().out


def test_the_share_of_unknown_words_is_said(here, capsys):
    assert train("--tokenizer", "word", "--context", "4") == 0
    capsys.readouterr()
    (here / "half.txt").write_text("the zebra the gnu the okapi\n")
    assert main(["evaluate", "runs/run", "--text", "half.txt", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["unknown"] == 0.5
    bits = found["loss"] / np.log(2) * 7  # six words and the end of the line
    assert found["bits_per_byte"] == pytest.approx(bits / 28)
    assert found["bits_per_character"] == pytest.approx(bits / 28)
    assert "50% of the words of half.txt are <unk>" in captured.err
    assert main(["evaluate", "runs/run", "--text", "half.txt"]) == 0
    assert "50.0% of the words are not known" in capsys.readouterr().out
    (here / "none.txt").write_text("zebra gnu okapi\n")
    assert "knows none of" in refused(capsys, "evaluate", "runs/run", "--text", "none.txt")
    assert "knows none of" in refused(capsys, "generate", "runs/run", "--prompt", "zebra")


@pytest.mark.parametrize("damage", ["truncated", "tampered", "missing"])
def test_a_damaged_checkpoint_is_refused_and_left_alone(here, capsys, damage):
    assert train() == 0
    capsys.readouterr()
    path = here / "runs/run/checkpoint.safetensors"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:-100])
    else:
        path.write_bytes(data[:-50] + bytes([data[-50] ^ 1]) + data[-49:])
    after = path.read_bytes() if path.exists() else None
    for command in (["generate", "runs/run"], ["train", "--resume", "runs/run"]):
        line = refused(capsys, *command)
        assert "has no checkpoint" in line if damage == "missing" else "is damaged" in line
    assert (path.read_bytes() if path.exists() else None) == after


@pytest.mark.skipif(os.geteuid() == 0 or os.name != "posix", reason="root may write anywhere")
def test_an_unwritable_folder_is_one_clear_line(here, capsys):
    (here / "runs").mkdir(mode=0o500)
    assert "Permission denied" in refused(capsys, "train", *SMALL, "--corpus", "text.txt")


def test_a_file_where_the_runs_should_go_is_one_clear_line(here, capsys):
    (here / "runs").write_text("in the way")
    line = refused(capsys, "train", *SMALL, "--corpus", "text.txt")
    assert "runs" in line


def start(here, *options, out=subprocess.DEVNULL):
    """Training in a process of its own."""
    size = [*SMALL, "--dropout", "0.1", "--corpus", "text.txt"] if "--resume" not in options else []
    command = [sys.executable, "-m", "numpylm", "train", *size, *options]
    return subprocess.Popen(command, cwd=here, stdout=out, stderr=out, text=True)


def wait_for_checkpoint(here, name):
    """Until the first evaluation is saved."""
    path = here / "runs" / name / "metrics.jsonl"
    for _ in range(600):
        if path.exists() and path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint appeared")


@needs_ctrl_c
def test_ctrl_c_saves_and_says_how_to_go_on(here):
    process = start(here, "--name", "run", "--steps", "1000000", out=subprocess.PIPE)
    wait_for_checkpoint(here, "run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "numpylm train --resume runs" in out
    assert "Traceback" not in err
    assert (here / "runs/run/loss.png").exists()


def test_help_groups_the_options_and_shows_defaults(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for piece in ("data (", "model (", "optimisation (", "run (", "(default: 0.002)"):
        assert piece in text
