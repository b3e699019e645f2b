"""§3.4 Prompt and answer in one sequence: only the answer is asked for, and it is written."""

import numpy as np
import pytest

from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.causal import causal_lm_forward
from numpylm.parameters import leaves
from numpylm.pipelines.predictor import load_predictor
from numpylm.tasks.dataset import Question
from numpylm.tasks.loading import load_task
from numpylm.tasks.prompted import write
from numpylm.training.pretrained import objective_for
from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer
from tests.tiny import fitted, settings, write_task

KINDS = ("answering", "classification", "translation", "summarisation")


def load(tmp_path, kind, **changes):
    corpus = write_task(tmp_path / "data", kind)
    return load_task(settings(objective=f"prompted-{kind}", corpus=str(corpus),
                              **{"context": 40, "tokenizer": "word"} | changes), None)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_answer_and_its_end_are_asked_for(tmp_path, kind):
    task = load(tmp_path, kind)
    batch, special = task.batch(0), task.special
    for ids, targets in zip(batch["ids"], batch["targets"], strict=True):
        asked = np.flatnonzero(targets != IGNORE)
        assert asked.tolist() == list(range(asked[0], asked[-1] + 1)), "one piece"
        assert ids[asked[0]] == special.sep, "asked for behind the last mark of the prompt"
        assert targets[asked[-1]] == special.end
        assert targets[asked[:-1]].tolist() == ids[asked[0] + 1 : asked[-1] + 1].tolist()
        assert (ids[asked[-1] + 1 :] == special.pad).all()
        marks = 2 if kind == "answering" else 1
        assert (ids[: asked[0] + 1] == special.sep).sum() == marks
    assert task.tokens(batch) == (batch["targets"] != IGNORE).sum()


def test_the_loss_is_the_mean_over_the_tokens_of_the_answers(tmp_path):
    """Also of examples alone, without filler."""
    task = load(tmp_path, "answering")
    _, p = task.init(1)
    batch = task.batch(0)
    loss, _ = causal_lm_forward(p, **batch, config=task.model)
    alone = []
    for ids, targets in zip(batch["ids"], batch["targets"], strict=True):
        at = np.flatnonzero(targets != IGNORE)
        logits_loss, _ = causal_lm_forward(
            p, ids[None, : at[-1] + 1], targets[None, : at[-1] + 1], config=task.model
        )
        alone.append((float(logits_loss), len(at)))
    n = sum(count for _, count in alone)
    assert loss == pytest.approx(sum(value * count for value, count in alone) / n, rel=1e-5)


def test_it_learns_writes_and_is_loaded_again(tmp_path):
    corpus = write_task(tmp_path / "data", "classification")
    config = settings(
        objective="prompted-classification", corpus=str(corpus), tokenizer="word", context=24,
        steps=150, eval_every=150, lr=1e-2, warmup=5, d_model=32, d_ff=64, n_layers=1,
    )  # fmt: skip
    run = fitted(tmp_path / "run", config).run.folder
    trainer = Trainer.resume(run)
    with trainer.parallel() as parallel:
        scores = trainer.task.scores(parallel, "test")
        shown = trainer.task.samples(parallel, 1)[0]
        with pytest.raises(ValueError, match="beam is 2"):
            trainer.task.scores(parallel, "test", beam=2)
    assert scores["accuracy"] == 1.0
    assert "reference" in shown
    example = trainer.task.dataset.test[0]
    found = load_predictor(run).predict(example.text)
    assert found == {"label": example.label}


def test_a_long_example_is_left_out_counted_and_wrong(tmp_path):
    whole = load(tmp_path, "answering")
    length = max(len(p) + len(a) - 1 for rows in whole.rows.values() for p, a in rows)
    cut = load_task(settings(objective="prompted-answering", corpus=str(tmp_path / "data"),
                             tokenizer="word", context=length - 1), None)  # fmt: skip
    assert "test_longer_than_context" not in whole.summary
    left_out = cut.summary["train_longer_than_context"]
    assert len(cut.rows["train"]) + left_out == len(whole.rows["train"])
    with pytest.raises(ValueError, match="no example of data is short enough"):
        load_task(settings(objective="prompted-answering", corpus=str(tmp_path / "data"),
                           tokenizer="word", context=5), None)  # fmt: skip


def test_an_answer_of_unknown_words_is_refused(tmp_path):
    task = load(tmp_path, "answering")
    with pytest.raises(ValueError, match="knows nothing of the answer 'zyx'"):
        task.encode(Question("who ?", "the zyx .", 1, 2))


def test_writing_ends_with_the_context(tmp_path):
    task = load(tmp_path, "classification", context=12)
    _, p = task.init(1)
    text = write(p, task.model, task.vocabulary, np.zeros(10, np.int64))
    assert len(text.split()) <= 3


def test_a_causal_run_is_the_start_of_all_but_the_special_tokens(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "one day . who sees the cat ? the dog sees the owl ! hears likes bee fox\n" * 60
    )
    corpus = write_task(tmp_path / "data", "classification")
    config = settings(
        objective="causal", corpus=str(text), tokenizer="char", context=64, tied=False
    )
    base = open_run(fitted(tmp_path / "base", config).run.folder)
    assert objective_for(base, "classification") == "prompted-classification"
    assert objective_for(base, "labelling") == "labelling", "which is refused as before"
    chosen = {"objective": "prompted-classification", "corpus": str(corpus), "tokenizer": "char",
              "context": 64, "tied": False, "pretrained": str(base.folder)}  # fmt: skip
    tuned = Trainer.start(tmp_path / "tuned", settings(**chosen))
    given = base.load_model()[0].parameters
    size = given["embedding.tokens.weight"].shape[0]
    start = dict(leaves(tuned.p))
    assert start["embedding.tokens.weight"].shape[0] == size + 38
    for name, array in given.items():
        kept = start[name][tuple(slice(n) for n in array.shape)]
        assert np.array_equal(kept, array), name
