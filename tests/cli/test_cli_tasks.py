"""§3.3 The commands on every objective: train, fine-tune, predict, evaluate; what cannot work."""

import json
from functools import partial

import pytest

from numpylm.cli import main
from numpylm.cli import parser as cli
from numpylm.plots import runs
from numpylm.tasks import next_sentence
from numpylm.tasks.loading import TASKS
from tests.tiny import write_documents, write_task

SMALL = [
    "--n-layers", "1", "--n-heads", "2", "--d-model", "8", "--d-ff", "12", "--context", "24",
    "--tokenizer", "word", "--min-count", "1",
]  # fmt: skip
LOOP = ["--batch-size", "4", "--steps", "2", "--eval-every", "2", "--warmup", "1", "--lr", "0.01"]
PLOT = runs.plot_loss
HELD_OUT = ("masked", "next-sentence", "bert")
HEADS = ("classification", "labelling", "answering")
PAIRS = ("translation", "summarisation")
TOYS = ("copy", "reverse", "sort")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Fewer held-out pairs and toy sequences than a real run has, and no picture of each run."""
    monkeypatch.setattr(runs, "plot_loss", lambda run: None)
    monkeypatch.setattr(next_sentence, "PAIRS_HELD_OUT", 50)
    for name in TOYS:
        data = TASKS[name].data
        load = partial(data.load, sizes=(30, 6, 6), length=5)
        monkeypatch.setattr(TASKS[name], "data", data._replace(load=load))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with data for every objective."""
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path / "documents")
    for name in (*HEADS, *PAIRS):
        write_task(tmp_path / name, name)
    (tmp_path / "text.txt").write_text("the cat sees the dog . the owl hears the bee .\n" * 40)
    return tmp_path


def corpus_of(objective):
    objective = objective.removeprefix("prompted-")
    if objective in HELD_OUT:
        return ["--corpus", "documents"]
    if objective in (*HEADS, *PAIRS):
        return ["--corpus", objective]
    return [] if objective in TOYS else ["--corpus", "text.txt"]


def train(objective, *options, name=None):
    which = ["--objective", objective, *(["--name", name] if name else [])]
    return main(["train", *which, *SMALL, *LOOP, *corpus_of(objective), *options])


def refused(capsys, *argv):
    """The one line that a refused command prints."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("numpylm: error: ")
    return line


def answers(capsys, *argv):
    """The printed lines of a command that works."""
    assert main([str(a) for a in argv]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("objective", [o for o in TASKS if o != "causal"])
def test_every_objective_trains_evaluates_and_answers(here, capsys, objective):
    assert train(objective) == 0
    printed = capsys.readouterr().out
    folder = here / "runs" / objective
    content = json.loads((folder / "config.json").read_text())
    assert content["settings"]["objective"] == objective
    assert f"{objective} on " in printed
    assert "this model" in printed
    assert f"numpylm predict runs/{objective}" in printed
    for baseline in content["baselines"]:
        assert baseline in printed
    assert bool(content["baselines"]) == (objective not in ("spans", "deletion"))

    evaluated = json.loads("".join(answers(capsys, "evaluate", folder, "--json")))
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    for name, value in last.items():
        if name.startswith("val_"):
            assert evaluated[name[4:]] == pytest.approx(value)
    for name in ("loss", "perplexity", "bits_per_token"):
        assert name in evaluated
    if objective in (*PAIRS, *TOYS):
        assert {"exact_match"} <= set(evaluated)

    two = ("answering", "next-sentence", "prompted-answering")
    second = ["--second", "who ?"] if objective in two else []
    text = "the cat [MASK]" if objective in ("masked", "bert") else "the cat sees"
    text = "a b c" if objective in TOYS else text  # a toy knows letters only
    plain = answers(capsys, "predict", folder, text, *second)
    assert len(plain) == 1
    found = json.loads("".join(answers(capsys, "predict", folder, text, *second, "--json")))
    keys = {"classification": "label", "labelling": "labels", "answering": "answer",
            "masked": "gaps", "bert": "gaps", "next-sentence": "follows",
            "prompted-classification": "label", "prompted-answering": "answer"}  # fmt: skip
    assert keys.get(objective, "text") in found

    assert "use numpylm predict" in refused(capsys, "generate", folder)
    assert "use numpylm predict" in refused(capsys, "evaluate", folder, "--text", "text.txt")
    assert main(["train", "--resume", str(folder)]) == 0  # it is finished: nothing changes
    assert last == json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def test_two_losses_added_have_no_perplexity(here, capsys):
    assert train("bert") == 0
    folder = here / "runs" / "bert"
    capsys.readouterr()
    assert json.loads("".join(answers(capsys, "evaluate", folder, "--json")))["perplexity"] is None
    assert "perplexity" not in "".join(answers(capsys, "evaluate", folder))


@pytest.mark.parametrize("objective", ["bert", "answering"])
def test_a_run_is_drawn(here, monkeypatch, objective):
    monkeypatch.setattr(runs, "plot_loss", PLOT)
    assert train(objective) == 0
    picture = here / "runs" / objective / "loss.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("objective", ["bert", "classification", "translation"])
def test_json_is_the_only_output(here, capsys, objective):
    assert train(objective, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["step"] == 2
    assert set(result["scores"]) == {"valid", "test"}
    assert result["baselines"]


def finetune(start, task, *options):
    return ["finetune", start, task, *LOOP, *corpus_of(task), *options]


def test_finetune_with_and_without_scratch(here, capsys):
    assert train("bert") == 0
    capsys.readouterr()
    text = "\n".join(answers(capsys, *finetune("runs/bert", "classification")))
    folders = {p.name for p in (here / "runs").iterdir()}
    assert folders == {"bert", "classification", "classification-scratch"}
    for word in ("fine-tuned", "from scratch", "most frequent label", "accuracy"):
        assert word in text
    assert "numpylm predict runs/classification …" in text  # not the one from scratch
    settings = [
        json.loads((here / "runs" / n / "config.json").read_text())["settings"]
        for n in ("classification", "classification-scratch")
    ]
    assert settings[0] == settings[1]

    capsys.readouterr()
    (line,) = answers(
        capsys, *finetune("runs/bert", "labelling", "--no-scratch", "--json", "--freeze-trunk")
    )
    found = json.loads(line)
    assert set(found["scores"]) == {"fine-tuned"}
    assert set(found["scores"]["fine-tuned"]) == {"valid", "test"}
    assert not (here / "runs" / "labelling-scratch").exists()
    assert len(answers(capsys, "predict", "runs/labelling", "the cat sees")) == 1

    assert main(finetune("runs/bert", "answering", "--name", "mine", "--freeze-layers", "1")) == 0
    assert (here / "runs" / "mine-scratch" / "config.json").exists()
    frozen = [json.loads((here / "runs" / n / "config.json").read_text())["settings"]
              for n in ("mine", "mine-scratch")]  # fmt: skip
    assert [s["freeze_layers"] for s in frozen] == [1, 0]


@pytest.mark.parametrize(
    ("start", "task"), [("causal", "causal"), ("spans", "translation"), ("masked", "bert")]
)
def test_finetune_of_every_architecture(here, capsys, start, task):
    assert train(start, name="start") == 0
    (here / "other.txt").write_text("the dog sees the cat .\n" * 60)
    options = ["--corpus", "other.txt"] if task == "causal" else []
    capsys.readouterr()
    text = "\n".join(answers(capsys, *finetune("runs/start", task, "--no-scratch", *options)))
    word = "generate" if task == "causal" else "predict"
    assert f"use it:     numpylm {word} runs/{task}" in text


def test_a_low_learning_rate_needs_no_other_setting(here, capsys):
    """The preset's last learning rate is a share of its highest, as when training."""
    assert train("causal", name="start") == 0
    (here / "other.txt").write_text("the dog sees the cat .\n" * 60)
    low = [*finetune("runs/start", "causal", "--no-scratch"), "--corpus", "other.txt"]
    assert main([*low, "--lr", "1e-5"]) == 0


def test_finetune_refuses_before_it_trains(here, capsys):
    assert train("bert") == 0
    capsys.readouterr()
    (here / "runs" / "mine-scratch").mkdir()
    (here / "runs" / "mine-scratch" / "config.json").write_text("{}")
    line = refused(capsys, *finetune("runs/bert", "classification", "--name", "mine"))
    assert "mine-scratch holds a run already" in line
    assert not (here / "runs" / "mine").exists()
    for options, message in (
        (["runs/bert", "translation"], "translation needs a model that is encoder-decoder"),
        (["runs/bert", "causal"], "causal needs a model that is decoder-only"),
        (["runs/bert", "bert"], "give another --corpus"),
        (["runs/nothing", "classification"], "is not a run folder"),
        (["runs/bert", "classification", "--name", ".."], "must be a plain folder name"),
        (["runs/bert", "classification", "--name", ""], "must be a plain folder name"),
        (["runs/bert", "classification", "--freeze-layers", "2"], "freeze_layers 2 is above"),
        (["runs/bert", "masked", "--freeze-trunk"], "has no head of its own"),
        (["runs/bert", "classification", "--corpus", "nowhere"], "'nowhere' is neither"),
        (["runs/bert", "classification", "--steps", "0"], "steps is 0"),
    ):
        assert message in refused(capsys, "finetune", *options)
    assert {p.name for p in (here / "runs").iterdir()} == {"bert", "mine-scratch"}


def test_predict_reads_texts_and_files(here, capsys):
    assert train("classification") == 0
    capsys.readouterr()
    (here / "lines.txt").write_text("the cat sees\n\nthe dog hears the owl\n")
    two = answers(capsys, "predict", "runs/classification", "the cat sees", "the dog hears the owl")
    assert len(two) == 2
    assert answers(capsys, "predict", "runs/classification", "--file", "lines.txt") == two
    labels = [json.loads(x)["label"] for x in answers(
        capsys, "predict", "runs/classification", "--file", "lines.txt", "--json")]  # fmt: skip
    assert labels == [line.split()[0] for line in two]
    (here / "empty.txt").write_text(" \n")
    (here / "binary.txt").write_bytes(b"a\0b")
    for options, message in (
        ([], "give a text or --file"),
        (["text", "--file", "lines.txt"], "give a text or --file"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
        (["--file", "empty.txt"], "is empty"),
        (["--file", "binary.txt"], "binary file"),
        ([""], "there is no text"),
        (["a", "--second", "b"], "takes one text"),
        (["a", "--beam", "0"], "beam is 0"),
        (["qwxz zzyx"], "knows none of"),
    ):
        assert message in refused(capsys, "predict", "runs/classification", *options)
    assert "is not a run folder" in refused(capsys, "predict", "runs/nothing", "text")
    (line,) = answers(capsys, "predict", "runs/classification", "cat " * 30)
    assert line.endswith("(without the last 8 tokens)")


def test_beams_and_attention(here, capsys):
    assert train("translation") == 0
    capsys.readouterr()
    assert len(answers(capsys, "predict", "runs/translation", "the cat", "--beam", "3")) == 1
    found = json.loads("".join(
        answers(capsys, "evaluate", "runs/translation", "--split", "test", "--beam", "2", "--json")
    ))  # fmt: skip
    assert {"exact_match", "token_accuracy", "loss"} <= set(found)
    for command in (["predict", "runs/translation", "the cat"], ["evaluate", "runs/translation"]):
        assert "beam is 0" in refused(capsys, *command, "--beam", "0")
    assert len(answers(
        capsys, "predict", "runs/translation", "the cat", "--attention", "a.png")) == 1  # fmt: skip
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")
    picture = "nowhere/a.png"
    assert main(["predict", "runs/translation", "the cat", "--attention", picture]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert picture in line or "nowhere" in line
    assert train("labelling") == 0
    capsys.readouterr()
    line = refused(capsys, "predict", "runs/labelling", "the cat", "--attention", "b.png")
    assert "no encoder-decoder attention" in line


@pytest.mark.parametrize(
    ("objective", "unit"),
    [("classification", "text"), ("labelling", "word"), ("next-sentence", "pair"),
     ("translation", "word"), ("masked", "word")],
)  # fmt: skip
def test_evaluate_names_what_the_loss_is_a_mean_of(here, capsys, objective, unit):
    assert train(objective) == 0
    capsys.readouterr()
    first = answers(capsys, "evaluate", f"runs/{objective}")[0]
    assert f" nats per {unit}, perplexity " in first
    assert first.endswith(f"bits per {unit}")


def test_a_language_model_is_asked_to_generate(here, capsys):
    assert train("causal", name="lm") == 0
    capsys.readouterr()
    assert "use numpylm generate runs/lm" in refused(capsys, "predict", "runs/lm", "the cat")


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("masked", ["--corpus", "flat.txt"], "has no document boundaries"),
        ("bert", ["--corpus", "flat.txt"], "has no document boundaries"),
        ("bert", ["--corpus", "short"], "training text has"),
        ("masked", ["--context", "2"], "needs at least 3"),
        ("next-sentence", ["--context", "4"], "needs at least 5"),
        ("spans", ["--context", "3"], "needs at least 4"),
        ("spans", ["--mask-rate", "1"], "mask_rate 1.0 is not in (0, 1)"),
        ("spans", ["--mask-rate", "0.9"], "mask_rate 0.9 is too high"),
        ("spans", ["--corpus", "documents/nothing"], "neither pydoc nor wikitext2"),
        ("masked", ["--mask-rate", "0"], "mask_rate 0.0 is not in (0, 1)"),
        ("translation", ["--corpus", "unequal"], "has 3 lines but"),
        ("translation", ["--corpus", "gap"], "2: the line is empty"),
        ("translation", ["--corpus", "no-tab.tsv"], "no-tab.tsv:2: expected 2 columns"),
        ("translation", ["--corpus", "text.txt"], "text.txt:1: expected 2 columns"),
        ("translation", ["--corpus", "pydoc"], "'pydoc' is neither"),
        ("translation", ["--corpus", "nowhere"], "'nowhere' is neither"),
        ("translation", ["--source-language", "de"], "go together"),
        ("translation", ["--source-language", "de", "--target-language", "en"], "has"),
        ("translation", ["--label-smoothing", "1"], "label_smoothing 1.0 is not in"),
        ("translation", ["--context", "2"], "raise --context"),
        ("classification", ["--corpus", "no-tab.tsv"], "no-tab.tsv:2: expected 2 columns"),
        ("classification", ["--corpus", "half.tsv"], "half.tsv:2: column 1 is empty"),
        ("classification", ["--corpus", "few.tsv"], "too few different examples"),
        ("classification", ["--corpus", "documents"], "has no train file"),
        ("labelling", ["--corpus", "one-column.txt"], "expected a word and its label"),
        ("answering", ["--corpus", "no-span.tsv"], "is not a span of the story"),
        ("answering", ["--context", "6"], "fits a context of 6"),
        ("copy", ["--corpus", "text.txt"], "the task copy is only generated"),
        ("sort", ["--name", "a/b"], "must be a plain folder name"),
        ("classification", ["--n-heads", "3"], "d_model 8 is not divisible by n_heads 3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, capsys, objective, options, message):
    (here / "flat.txt").write_text("no blank line anywhere. " * 100)
    for name in ("unequal", "gap", "short"):
        (here / name).mkdir()
    for part in ("train", "valid", "test"):
        (here / "short" / f"{part}.txt").write_text("a b.\n\nc d.\n")
        for language, lines in (("de", "eins\nzwei\ndrei\n"), ("en", "one\ntwo\n")):
            (here / "unequal" / f"{part}.{language}").write_text(lines)
            (here / "gap" / f"{part}.{language}").write_text(lines.replace("zwei", " "))
    for part in ("train", "valid", "test"):
        (here / "gap" / f"{part}.en").write_text("one\ntwo\nthree\n")
    (here / "no-tab.tsv").write_text("a\tb\nno tab here\n")
    (here / "half.tsv").write_text("a\tb\n\tb\n")
    (here / "few.tsv").write_text("a\tb\na\tb\n")
    (here / "one-column.txt").write_text("word\n")
    (here / "no-span.tsv").write_text("who ?\tthe cat sees\tdog\n")
    argv = ["train", "--objective", objective, *SMALL, *LOOP, *corpus_of(objective), *options]
    assert message in refused(capsys, *argv)
    assert not (here / "runs").exists()


def test_a_test_text_shorter_than_a_context_loses_no_training(here, capsys):
    (here / "folder").mkdir()
    for part, count in (("train", 60), ("valid", 20), ("test", 1)):
        (here / "folder" / f"{part}.txt").write_text("the cat sees the dog .\n" * count)
    assert train("spans", "--corpus", "folder", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["scores"]) == {"valid"}


@pytest.mark.parametrize("preset", ["bert-tiny", "translation", "classification", "denoising"])
def test_bench_is_for_language_models(capsys, preset):
    line = refused(capsys, "bench", "--preset", preset, "--seconds", "0.1")
    assert "bench" in line
    assert preset in line


@pytest.mark.parametrize(
    "argv", [["train", "--objective", "dreaming"], ["finetune", "runs/x", "dreaming"], ["predict"],
             ["predict", "x", "y", "--beam", "many"], ["think"], []], ids=str
)  # fmt: skip
def test_what_no_command_knows_exits_with_two(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["train", "finetune", "predict", "generate", "evaluate", "gradcheck", "bench"]
)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out
    assert command in cli._parser().format_help()


def test_texts_may_stand_behind_an_option(here, capsys):
    assert train("reverse", name="run") == 0
    capsys.readouterr()
    assert main(["predict", "runs/run", "--beam", "2", "a b", "c"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(SystemExit) as stop:
        main(["predict", "runs/run", "--nothing", "a b"])
    assert stop.value.code == 2


def test_the_text_that_cannot_be_answered_is_named(here, capsys):
    assert train("reverse", name="run") == 0
    capsys.readouterr()
    assert main(["predict", "runs/run", "a b", " "]) == 2
    assert "text 2: there is no text" in capsys.readouterr().err
