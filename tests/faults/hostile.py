"""Files from strangers: valid ones, changed at random, for every reader. Used by the fuzz tests.

``python -m tests.faults.hostile 10000`` runs as many and prints what came out.
"""

from __future__ import annotations

import gzip
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

import numpylm
from numpylm.cli import main
from numpylm.data.corpus import load_corpus
from numpylm.data.documents import load_documents
from numpylm.data.vocabulary import tokenizer_from_json
from numpylm.pipelines.predictor import load_predictor
from numpylm.tasks.loading import TASKS
from numpylm.training.checkpoint import _digest
from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer
from tests.tiny import fitted, settings, write_documents, write_task

HOSTILE = [
    None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**32, 2**63, 2**64, 10**18, 10**400, 0.5, 1.0,
    1e308, -1e308, 1e-320, float("nan"), float("inf"), "", "\0", "\ud800", "../../escaped", "/",
    "$\\frac$", "x" * 5000, "word", "byte", "bert", "sinusoidal", "alibi", "post", [], {}, [[]],
    ["<unk>", "<eos>"], {"a": 1},
]  # fmt: skip
PUBLISHED = json.loads((Path(__file__).parents[1] / "golden/tokenizers.json").read_text())[
    "tokenizers"
]
DOWNSTREAM = (
    "translation", "summarisation", "answering", "classification", "labelling", "copy", "reverse",
    "sort",
)  # fmt: skip
NASTY = [b"", b"\0", b"\n", b"\r", b"\t", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"-DOCSTART-",
         b" = = ", b"\n = A = \n", b"\n\n", b"\xe2\x80\xa8", b"{", b"[" * 3000, b'"', b"1e999",
         b"NaN", b"9" * 5000, b"\x1c", "中".encode(), "\U0001f600".encode()]  # fmt: skip


def write_runs(folder: Path) -> list[Path]:
    """Finished runs of several kinds, and their data, for the attacks to change."""
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 30)
    runs = []
    for kind in ("char", "word", "byte"):
        config = settings("causal", text, tokenizer=kind, context=8, warmup=0)
        runs.append(fitted(folder / kind, config).run.folder)
    for name in ("classification", "labelling", "answering", "translation"):
        write_task(folder / f"{name}-data", name)
        config = settings(name, folder / f"{name}-data", shared_vocabulary=False)
        runs.append(fitted(folder / name, config).run.folder)
    documents = write_documents(folder / "documents")
    for name in ("bert", "spans"):
        runs.append(fitted(folder / name, settings(name, documents)).run.folder)
    return runs


def attack(rng: random.Random, runs: list[Path], place: Path) -> str:
    """Change a file, read it, and say what came out: "read", "refused", or a defect in words."""
    target = rng.choice([_attack_run, _attack_run, _attack_run, _attack_data, _attack_tokenizer])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    reader = target(rng, runs, place)
    out, err = StringIO(), StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="Glyph|constrained_layout", module="numpylm")
            status = reader()
    except ValueError as error:
        message = str(error)
        clear = message and "\n" not in message and len(message) < 1000
        return "refused" if clear else f"ValueError is no clear line: {message!r:.300}"
    except BaseException as error:
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return f"{type(error).__name__} at {where}: {error!s:.300}"
    if status in (0, None):
        return "read"
    line = err.getvalue()
    clear = status == 2 and line.count("\n") == 1 and line.startswith("numpylm: error: ")
    return "refused" if clear and len(line) < 1000 else f"exit {status}: {line!r:.300}"


def _attack_run(rng: random.Random, runs: list[Path], place: Path) -> Callable[[], Any]:
    run = place / "run"
    shutil.copytree(rng.choice(runs), run)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        path = rng.choice(sorted(run.iterdir()))
        data = path.read_bytes()
        if rng.random() < 0.25:
            path.write_bytes(damaged(rng, data))
        elif path.suffix == ".safetensors":
            path.write_bytes(crafted(rng, data))
        else:
            path.write_text(rewritten(rng, path.read_text(errors="replace")), "utf-8", "replace")
    if rng.random() < 0.6:
        refit(run)
    return rng.choice([_read_run, _resume, _predict, _generate, _command])(rng, run)


def refit(run: Path) -> None:
    """Make the checkpoint belong to the changed files, as a stranger would."""
    path = run / "checkpoint.safetensors"
    try:
        fingerprint, data = open_run(run).fingerprint, path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        path.write_bytes(signed(load(data), json.loads(header["numpylm"]) | {"run": fingerprint}))
    except Exception:  # too damaged for that
        pass


def signed(arrays: dict[str, Any], header: dict[str, Any]) -> bytes:
    """A checkpoint with a right checksum."""
    header.pop("sha256", None)
    header["sha256"] = _digest(arrays, header)
    return save(arrays, {"numpylm": json.dumps(header)})


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut, repeated or replaced by nonsense."""
    kind, at = rng.randrange(6), rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.choice(NASTY) + data[at:]
    if kind == 2:
        return rng.randbytes(rng.choice([0, 1, 8, 9, 100]))
    if kind == 3:
        return data[:at] + data[rng.randrange(len(data) + 1) :]
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 20])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def rewritten(rng: random.Random, text: str) -> str:
    """JSON, or a line of it, with a value replaced, removed, added, nested or repeated."""
    lines = text.split("\n") if text.count("\n{") else [text]
    number = rng.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except (ValueError, RecursionError):
        return text
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = changed(rng, value)
    line = json.dumps(value)
    if rng.random() < 0.1:
        line = line.replace('{"', '{"step": 1, "step": 2, "', 1)
    if rng.random() < 0.05:
        line = line.replace("1", "[" * 10**5, 1)
    lines[number] = line
    return "\n".join(lines)


def changed(rng: random.Random, value: Any) -> Any:
    """A JSON value with one change somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key, what = rng.choice(sorted(value)), rng.random()
        if what < 0.05:
            return {k: v for k, v in value.items() if k != key}
        if what < 0.1:
            return value | {rng.choice(["extra", "", "../x", "step"]): rng.choice(HOSTILE)}
        return value | {key: changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at, what = rng.randrange(len(value)), rng.random()
        if what < 0.2:
            return value[:at] + value[at + 1 :]
        if what < 0.4:
            return [*value[:at], rng.choice([*HOSTILE, *value]), *value[at:]]
        return [*value[:at], changed(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.4:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(["", "\0", "\ud800", "é", "z", "$"]) + value[at + 1 :]
    if type(value) in (int, float) and rng.random() < 0.4:
        return value + rng.choice([-1, 1, 0.5 if abs(value) < 2**64 else 2, 10**9, 10**18])
    return rng.choice(HOSTILE)


def crafted(rng: random.Random, data: bytes) -> bytes:
    """A checkpoint with other arrays or another header, often with a right checksum."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        arrays, ours = load(data), json.loads(header["__metadata__"]["numpylm"])
        ours["step"]
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return damaged(rng, data)
    kind = rng.randrange(4)
    if kind == 0:  # safetensors' own header
        name = rng.choice(sorted(header))
        header[name] = changed(rng, header[name])
        text = json.dumps(header).encode()
        size = rng.choice([len(text)] * 5 + [0, 2**40, 2**64 - 1])
        return size.to_bytes(8, "little") + text + data[8 + length :]
    if kind == 1:
        ours = changed(rng, ours)
        if not isinstance(ours, dict):
            return save(arrays, {"numpylm": json.dumps(ours)})
        return signed(arrays, ours)
    name = rng.choice(sorted(arrays))
    if kind == 2:
        arrays[name] = another(rng, arrays[name])
    elif rng.random() < 0.5:
        arrays.pop(name)
    else:
        prefix = rng.choice(["parameters.", "optimizer.", "", "extra."])
        arrays[prefix + rng.choice([name, "m", "é", ""])] = np.zeros(rng.choice([0, 3]))
    return signed(arrays, ours)


def another(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """An array of another value, shape or type."""
    array = array.copy()
    kind = rng.randrange(5)
    if kind == 0 and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e38, 0.0])
        return array
    if kind == 1:
        return array.astype(rng.choice([np.float64, np.float16, np.int8, np.bool_, np.uint64]))
    if kind == 2:
        return np.ascontiguousarray(array.T).reshape(-1)
    if kind == 3:
        return array[:-1].copy() if array.ndim else array.reshape(1)
    return array[None].copy()


def _attack_tokenizer(rng: random.Random, runs: list[Path], place: Path) -> Callable[[], Any]:
    text = (rng.choice(runs) / "tokenizer.json").read_text()
    if rng.random() < 0.5:  # as Hugging Face's library writes it
        text = json.dumps(rng.choice(list(PUBLISHED.values()))["file"])
    text = rewritten(rng, text) if rng.random() < 0.7 else damaged(rng, text.encode()).decode(
        "utf-8", "replace")  # fmt: skip

    def read() -> None:
        tokenizer = tokenizer_from_json(text)
        ids = np.arange(min(tokenizer.vocab_size, 300))
        tokenizer.encode(tokenizer.decode(ids))
        assert tokenizer_from_json(tokenizer.to_json()) == tokenizer

    return read


def _attack_data(rng: random.Random, runs: list[Path], place: Path) -> Callable[[], Any]:
    """A corpus or task files."""
    name = rng.choice(["corpus", "documents", "translation", *DOWNSTREAM])
    data = runs[0].parent / f"{name}-data"
    if not data.exists():
        data = runs[0].parent / "documents"
    source = place / "data"
    shutil.copytree(data, source)
    path = rng.choice(sorted(source.iterdir()))
    content = path.read_bytes()
    for _ in range(rng.choice([1, 2, 4])):
        content = damaged(rng, content)
    if rng.random() < 0.1:
        packed = gzip.compress(content, 1)
        content = damaged(rng, packed) if rng.random() < 0.5 else packed
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
    if rng.random() < 0.1:
        path = path.with_suffix(rng.choice([".jsonl", ".txt", ".tsv", ".conll", ".de"]))
    path.write_bytes(content)
    source = path if rng.random() < 0.3 else source
    if name == "corpus":
        return lambda: load_corpus(source).sha256 and None
    if name == "documents":
        return lambda: load_documents(source).sha256 and None
    objective = rng.choice(["causal", "bert", "spans", *DOWNSTREAM])
    if rng.random() < 0.3:
        config = settings(objective, source, tokenizer=rng.choice(["char", "word", "byte"]))
        return lambda: Trainer.start(place / "new", config) and None
    return lambda: TASKS[name].data.baselines(TASKS[name].data.load(source)) and None


def _read_run(rng: random.Random, run: Path) -> Callable[[], Any]:
    return lambda: open_run(run).load_model() and None


def _resume(rng: random.Random, run: Path) -> Callable[[], Any]:
    def resume() -> None:
        trainer = Trainer.resume(run)
        if trainer.config.steps - trainer.step < 10:
            trainer.fit(log=None)
        trainer.evaluate("valid")

    return resume


def _predict(rng: random.Random, run: Path) -> Callable[[], Any]:
    def predict() -> None:
        predictor = load_predictor(run)
        gap = predictor.objective in ("bert", "masked")
        wants = predictor.objective == "answering"
        predictor.predict("the cat sees [MASK] ." if gap else "the cat sees a dog",
                          second="who sees ?" if wants else "")  # fmt: skip

    return predict


def _generate(rng: random.Random, run: Path) -> Callable[[], Any]:
    def generate() -> None:
        lm = numpylm.load(run)
        lm.generate("", tokens=3)
        lm.loss("the dog and the fox")

    return generate


def _command(rng: random.Random, run: Path) -> Callable[[], Any]:
    commands = [
        ["generate", str(run), "--tokens", "3", "--prompt", "the"],
        ["predict", str(run), "the cat", "--attention", str(run.parent / "a.png")],
        ["evaluate", str(run), "--json"],
        ["train", "--resume", str(run)],
        ["finetune", str(run), "causal", "--name", "x", "--runs", str(run.parent / "runs"),
         "--steps", "1", "--no-scratch", "--corpus", str(run.parent)],
    ]  # fmt: skip
    command = rng.choice(commands)

    def call() -> int:
        try:
            if command[0] == "train" and open_run(run).config.steps > 10:
                return 0
        except ValueError:
            pass
        return main(command)

    return call


def campaign(count: int, place: Path, seconds: int = 20) -> Counter[str]:
    """The outcomes of so many attacks, each of which may take so long and no more."""

    def too_slow(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    runs, found = write_runs(place), Counter[str]()
    signal.signal(signal.SIGALRM, too_slow)
    for seed in range(count):
        signal.alarm(seconds)
        outcome = attack(random.Random(seed), runs, place / "attack")
        signal.alarm(0)
        found[outcome if outcome in ("read", "refused") else f"seed {seed}: {outcome}"] += 1
    return found


if __name__ == "__main__":
    limit = 8 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        outcomes = campaign(int(sys.argv[1]), Path(folder))
    for outcome, times in outcomes.most_common():
        print(f"{times:>6}  {outcome}")
    print(f"{sum(outcomes.values()):,} inputs in {time.perf_counter() - start:.0f} s")
    raise SystemExit(not set(outcomes) <= {"read", "refused"})
