"""§5.3 Files from strangers: data, never code; one clear line for what is wrong with them."""

import ast
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import numpylm
from numpylm.cli import main
from numpylm.data.vocabulary import ByteTokenizer, CharTokenizer, tokenizer_from_json
from numpylm.files import parse_json, read_utf8, write_atomically
from numpylm.plots.runs import plot_attention, plot_loss
from numpylm.tasks import data_files
from numpylm.tasks.answering import read_questions
from numpylm.tasks.data_files import find_parts, read_lines
from numpylm.training.checkpoint import _digest, load_checkpoint
from numpylm.training.run_folder import open_run
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer
from tests.faults.hostile import attack, campaign, refit, signed, write_runs
from tests.tiny import config_of, fitted
from tests.tiny import settings as tiny

PACKAGE = Path(__file__).resolve().parents[2] / "numpylm"
FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "subprocess"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 30)
    return fitted(tmp_path / "run", tiny("causal", tmp_path / "text.txt", context=4)).run.folder


@given(st.randoms(use_true_random=False))
@settings(max_examples=250)
def test_whatever_a_file_holds_the_answer_is_one_clear_line(runs, tmp_path_factory, rng):
    place = tmp_path_factory.getbasetemp() / "attack"
    assert attack(rng, runs, place) in ("read", "refused")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGALRM")
def test_thousands_of_hostile_files(tmp_path):
    """``python -m tests.faults.hostile 10000`` runs more of them."""
    found = campaign(2000, tmp_path)
    assert found["read"] + found["refused"] == 2000, found
    assert min(found["read"], found["refused"]) > 150


def test_no_module_can_run_what_a_file_says():
    """No pickle, no eval: a static check of every call and import.

    Only the mutation audit compiles: the library's own functions, with a mistake in them. The
    sweep's joblib passes its own work to its own processes, the book calls npm: neither reads what
    a stranger wrote.
    """
    mutation = PACKAGE / "gradcheck" / "mutation"
    of_the_audit = {mutation / "published_bugs.py", mutation / "engine.py"}
    allowed = {"scaling/experiment/sweep.py": {"joblib"}, "book/site.py": {"subprocess"}}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                forbidden = FORBIDDEN - allowed.get(str(path.relative_to(PACKAGE)), set())
                assert not forbidden & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", "")
                assert called not in ("eval", "__import__"), path
                assert called not in ("exec", "compile") or path in of_the_audit, path
                assert not any(k.arg == "allow_pickle" for k in node.keywords), path
                assert getattr(node.func, "attr", "") not in ("system", "popen", "fromfile"), path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ("1e999", "1e999 is no finite number"),
        ("9223372036854775808", "does not fit 64 bits"),
        ("9" * 5000, "does not fit 64 bits"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ("[" * 100_000, "nested too deep"),
        ("{", "line 1 column 2"),
    ],
)
def test_json_is_read_strictly(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_that_is_written_is_read():
    value = {"a": [1, -(2**63), 2**63 - 1, 0.1, 1e-320, None, True, "\ud800\0é"], "b": {"a": {}}}
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", ['{"kind": "word", "words": {"<unk>": 1, "<eos>": 2}}',
                                  '{"kind": "char", "symbols": ["a"]}', '{"kind": {"a": []}}',
                                  '{"kind": "' + "x" * 9999 + '"}', "[" * 10**5, "1"])  # fmt: skip
def test_a_tokenizer_of_other_types_is_refused(text):
    with pytest.raises(ValueError, match="tokenizer file") as refused:
        tokenizer_from_json(text)
    assert len(str(refused.value)) < 300


def test_what_cannot_be_encoded_is_named_in_short():
    with pytest.raises(ValueError, match=r"'\\ud800' at 1 is no character of UTF-8"):
        ByteTokenizer().encode("a\ud800")
    with pytest.raises(ValueError, match=r"know 'b' .* 'k' and 15 more$"):
        CharTokenizer("a").encode("abcdefghijklmnopqrstuvwxyz")


def test_a_config_without_settings_is_refused(run):
    content = config_of(run)
    content.pop("settings")
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="settings in config.json are damaged: not an object"):
        open_run(run)


@pytest.mark.parametrize(
    "line",
    ['{"step": 1, "val_loss": 1.0}', '{"step": 1.5, "val_loss": 1.0, "train_loss": 1.0}',
     '{"step": 1, "val_loss": NaN, "train_loss": 1.0}', '{"step": true, "val_loss": 1}',
     '{"step": -1, "val_loss": 1.0, "train_loss": null}',
     '{"step": 1, "val_loss": 1' + "0" * 400 + ', "train_loss": null}'],
)  # fmt: skip
def test_a_line_of_metrics_without_what_is_read_again_is_refused(run, line):
    (run / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl is damaged: "):
        open_run(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 10**9}, r"holds [\d,]+ parameters, not [\d,]{20,}"),
        ({"n_layers": 10**9}, "parameters, not"),
        ({"context": 10**8}, "parameters, not"),
        ({"d_model": 2**40}, r"d_model is 1099511627776; it must be below 2\*\*32"),
        ({"batch_size": 10**9}, r"batch_size · context · accumulate is 4000000000; at most"),
        ({"accumulate": 10**9}, r"batch_size · context · accumulate is"),
        ({"threads": 10**6}, "threads is 1000000; it must be at most 1024"),
        ({"steps": True}, "steps is True; it must be of type int"),
        ({"objective": "x" * 10**5}, "objective is 'xxx"),
        ({"seed": 2**64}, "does not fit 64 bits"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(run, changes, message):
    content = config_of(run)
    content["settings"] |= changes
    (run / "config.json").write_text(json.dumps(content))
    refit(run)
    with pytest.raises(ValueError, match=message) as refused:
        numpylm.load(run)
    assert len(str(refused.value)) < 400


def test_a_checkpoint_is_read_only_if_its_sizes_are_those_of_the_model(run):
    path = run / "checkpoint.safetensors"
    arrays, header = load_file(path), json.loads(_metadata(path)["numpylm"])
    crafted = arrays | {"optimizer.m": np.zeros(10**6, np.float32)}
    path.write_bytes(signed(crafted, dict(header)))
    with pytest.raises(ValueError, match=r"holds 1,\d+,\d+ numbers of the optimiser for"):
        open_run(run).load_model()
    path.write_bytes(signed(arrays | {"extra": np.zeros(1)}, dict(header)))
    with pytest.raises(ValueError, match="no array of ours is called 'extra'"):
        open_run(run).load_model()
    claimed = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    path.write_bytes(len(claimed).to_bytes(8, "little") + claimed.encode())
    with pytest.raises(ValueError, match="is damaged"):
        open_run(run).load_model()


@pytest.mark.parametrize("fault", ["flipped", "cut", "newer", "missing", "extra", "shape",
                                   "dtype", "nan", "other"])  # fmt: skip
def test_a_faulty_checkpoint_is_one_line_and_status_2_for_every_command(run, capsys, fault):
    path = run / "checkpoint.safetensors"
    data, arrays = path.read_bytes(), load_file(path)
    header = json.loads(_metadata(path)["numpylm"])
    name = next(n for n, a in arrays.items() if n.startswith("parameters.") and a.ndim == 2)
    if fault == "newer":
        header["version"] = 3
    elif fault == "missing":
        arrays.pop(name)
    elif fault == "extra":
        arrays["parameters.more"] = np.zeros(0, np.float32)
    elif fault == "shape":
        arrays[name] = arrays[name].ravel()
    elif fault == "dtype":
        arrays[name] = arrays[name].astype(np.float64)
    elif fault == "nan":
        arrays[name][0, 0] = np.nan
    elif fault == "other":
        header["run"] = "0" * 64
    crafted = {
        "cut": data[:-5], "flipped": data[:-999] + bytes([data[-999] ^ 4]) + data[-998:],
    }.get(fault, signed(arrays, header))  # fmt: skip
    path.write_bytes(crafted)
    for command in (
        ["generate", str(run)],
        ["train", "--resume", str(run)],
        ["evaluate", str(run)],
    ):
        assert main([*command, "--json"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith(f"numpylm: error: {path} ")
    assert path.read_bytes() == crafted


@pytest.mark.parametrize("name", ["optimizer.m", "optimizer.v"])
def test_moments_that_are_not_finite_are_refused(run, name):
    path = run / "checkpoint.safetensors"
    arrays, header = load_file(path), json.loads(_metadata(path)["numpylm"])
    arrays[name][3] = np.inf
    path.write_bytes(signed(arrays, header))
    with pytest.raises(ValueError, match=f"holds NaN or infinity in {name}"):
        Trainer.resume(run)


def test_progress_that_is_not_finite_is_refused(run):
    path = run / "checkpoint.safetensors"
    arrays, header = load_file(path), json.loads(_metadata(path)["numpylm"])
    header["progress"]["loss_sum"] = float("nan")
    header.pop("sha256")
    header["sha256"] = _digest(arrays, header)
    save_file(arrays, path, {"numpylm": json.dumps(header)})
    with pytest.raises(ValueError, match="NaN is no finite number"):
        load_checkpoint(path)


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata()


def test_a_summary_of_the_corpus_is_not_taken_on_trust(run):
    corpus = config_of(run)["corpus"]
    content = config_of(run) | {"corpus": {"sha256": corpus["sha256"]}}
    (run / "config.json").write_text(json.dumps(content))
    trainer = Trainer.resume(run)
    assert trainer.run.corpus == corpus


def test_writing_follows_no_link_out_of_the_folder(tmp_path, run):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    for name in ("loss.png", ".loss.png.tmp", ".config.json.tmp"):
        (run / name).symlink_to(treasure)
    plot_loss(open_run(run))
    open_run(run).write_config()
    assert treasure.read_text() == "mine"
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / "loss.png").is_symlink()
    write_atomically(run / "x", "y")
    assert not [path for path in run.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_read(tmp_path, run):
    """It would never end."""
    (run / "tokenizer.json").unlink()
    os.mkfifo(run / "tokenizer.json")
    with pytest.raises(ValueError, match="tokenizer.json is no regular file"):
        open_run(run)
    os.mkfifo(tmp_path / "train.tsv")
    with pytest.raises(ValueError, match="has no train file"):
        find_parts(tmp_path, (".tsv",))
    with pytest.raises(ValueError, match="cannot read"):
        read_utf8(tmp_path / "nothing")


def test_a_small_gzip_cannot_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "bomb.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" * 10**5))
    assert len(read_lines(path)) == 10**5
    monkeypatch.setattr(data_files, "MOST_UNPACKED", 10**5)
    with pytest.raises(ValueError, match="unpacks to more than 100,000 bytes"):
        read_lines(path)


def test_questions_that_are_nested_too_deep_are_refused(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("[" * 10**5)
    with pytest.raises(ValueError, match=r"q.jsonl:1: expected a JSON object.*nested too deep"):
        read_questions(path)


@pytest.mark.parametrize("token", ["$\\frac$", "$x$", "\ud800", "x" * 10**5])
def test_any_token_can_be_drawn(tmp_path, token):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        plot_attention(tmp_path / "a.png", [token, "a"], ["b"], np.full((1, 2), 0.5))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "/tmp/x", "x/", ""])
def test_a_name_stays_in_the_folder_of_runs(tmp_path, monkeypatch, capsys, run, name):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for command in (["train", "--corpus", "text.txt"], ["finetune", str(run), "causal"]):
        assert main([*command, "--name", name]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "must be a plain folder name" in line or "give another --corpus" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_no_memory_can_hold_is_refused_at_once(tmp_path, monkeypatch, capsys, run):
    """Not when its layers, one after the other, have filled it."""
    monkeypatch.chdir(tmp_path)
    sizes = ["--n-layers", "2000000000", "--d-model", "4096", "--context", "4"]
    assert main(["train", "--corpus", "text.txt", *sizes]) == 2
    assert "Unable to allocate" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_largest_settings_are_still_accepted():
    assert TrainConfig(seed=2**32 - 1, d_model=2**20, batch_size=2**20, context=2**10)
