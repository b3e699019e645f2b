"""§3.3 Fine-tuning: what is copied, what stays as it was, and what cannot be a start."""

import numpy as np
import pytest

from numpylm.parameters import leaves
from numpylm.tasks import next_sentence
from numpylm.training.pretrained import INHERITED, inherited
from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer
from tests.tiny import changed, fitted, settings, write_documents, write_task


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch):
    monkeypatch.setattr(next_sentence, "PAIRS_HELD_OUT", 50)


@pytest.fixture
def documents(tmp_path):
    return write_documents(tmp_path / "documents")


@pytest.fixture
def bert(tmp_path, documents):
    return fitted(tmp_path / "bert", settings("bert", documents, n_layers=2, steps=2))


def tuning(start, task, corpus, **changes):
    """Settings for a run from another one, as the command makes them."""
    given = inherited(start.run, task) | {"pretrained": str(start.run.folder)} | changes
    return settings(task, corpus, **given)


def arrays(trainer):
    return {name: a.copy() for name, a in leaves(trainer.p)}


def trunk(named):
    return {name.removeprefix("trunk."): a for name, a in named.items()}


@pytest.mark.parametrize("task", ["classification", "labelling", "answering"])
def test_the_trunk_is_copied_and_the_head_is_new(tmp_path, bert, task):
    config = tuning(bert, task, write_task(tmp_path / "data", task))
    tuned = Trainer.start(tmp_path / "tuned", config)
    scratch = Trainer.start(tmp_path / "scratch", config, random_start=True)
    given, found, random = trunk(arrays(bert)), arrays(tuned), arrays(scratch)
    assert found.keys() == random.keys()
    assert ("trunk.pooler.weight" in found) == (task == "classification")
    assert not any("masked_head" in n or "next_sentence" in n for n in found)
    for name, array in found.items():
        if name.startswith("head."):
            np.testing.assert_array_equal(array, random[name])
            continue
        np.testing.assert_array_equal(array, trunk(found)[name.removeprefix("trunk.")])
        np.testing.assert_array_equal(array, given[name.removeprefix("trunk.")])
        assert not np.array_equal(array, random[name]), name
    assert tuned.run.vocabulary == scratch.run.vocabulary
    assert tuned.run.vocabulary.tokenizer == bert.run.vocabulary.tokenizer
    for step in range(3):
        for name, array in tuned.task.batch(step).items():
            np.testing.assert_array_equal(array, scratch.task.batch(step)[name])
    files = [(tmp_path / n / "config.json").read_text() for n in ("tuned", "scratch")]
    assert files[0] == files[1]  # the random start is the only difference


def test_a_start_is_not_changed_by_its_child(tmp_path, bert):
    before = bert.run.checkpoint.read_bytes()
    fitted(tmp_path / "run", tuning(bert, "labelling", write_task(tmp_path / "d", "labelling")))
    assert bert.run.checkpoint.read_bytes() == before


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_frozen_trunk_stays_and_the_head_learns(tmp_path, bert, optimizer):
    corpus = write_task(tmp_path / "data", "classification")
    config = tuning(bert, "classification", corpus, freeze_trunk=True, weight_decay=0.5,
                    optimizer=optimizer, momentum=0.9, dropout=0.1)  # fmt: skip
    trainer = Trainer.start(tmp_path / "run", config)
    before = arrays(trainer)
    trainer.fit(log=None)
    for name, array in leaves(trainer.p):
        assert np.array_equal(array, before[name]) == (not name.startswith("head.")), name


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize("task", ["classification", "masked"])
def test_frozen_layers_stay_and_all_others_learn(tmp_path, bert, documents, task, kept):
    corpus = documents if task == "masked" else write_task(tmp_path / "data", task)
    config = tuning(bert, task, corpus, freeze_layers=kept, weight_decay=0.5, batch_size=16)
    trainer = Trainer.start(tmp_path / "run", config)
    before = arrays(trainer)
    trainer.fit(log=None)
    for name, array in leaves(trainer.p):
        plain = name.removeprefix("trunk.")
        frozen = plain.startswith(("embedding.", *(f"encoder.layers.{i}." for i in range(kept))))
        if not frozen and task == "masked" and plain.startswith(("pooler", "next_sentence")):
            continue  # of no use to this objective
        if plain.endswith("key.bias"):
            continue  # a softmax does not feel it
        assert np.array_equal(array, before[name]) == frozen, name


def test_freezing_survives_a_resume(tmp_path, bert):
    corpus = write_task(tmp_path / "data", "labelling")
    config = tuning(bert, "labelling", corpus, freeze_layers=1, weight_decay=0.5, dropout=0.1)
    whole = Trainer.start(tmp_path / "whole", config)
    before = arrays(whole)
    whole.fit(log=None)
    part = Trainer.start(tmp_path / "part", config)
    with part.parallel() as parallel:
        next(part.steps(parallel))
    part.save()
    resumed = Trainer.resume(tmp_path / "part")
    resumed.fit(log=None)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    for name, array in leaves(resumed.p):
        if name.startswith(("trunk.embedding", "trunk.encoder.layers.0")):
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("tied", [True, False])
def test_a_frozen_tied_embedding_of_a_language_model(tmp_path, tied):
    text = tmp_path / "text.txt"
    text.write_text("the cat sees the dog . " * 60)
    config = settings("causal", text, n_layers=2, context=8, tied=tied, batch_size=16)
    start = fitted(tmp_path / "start", config)
    other = tmp_path / "other.txt"
    other.write_text("the dog sees the cat . " * 60)
    trainer = Trainer.start(
        tmp_path / "run", tuning(start, "causal", other, freeze_layers=1, weight_decay=0.5)
    )
    before = arrays(trainer)
    for name, array in leaves(start.p):
        np.testing.assert_array_equal(array, before[name])
    trainer.fit(log=None)
    for name, array in leaves(trainer.p):
        if not name.endswith("key.bias"):
            frozen = name.startswith(("embedding.", "decoder.layers.0."))
            assert np.array_equal(array, before[name]) == frozen, name


@pytest.mark.parametrize("objective", ["spans", "deletion"])
def test_an_encoder_decoder_is_copied_whole(tmp_path, objective):
    text = tmp_path / "text.txt"
    text.write_text("the cat sees the dog . the owl hears the bee . " * 40)
    start = fitted(tmp_path / "start", settings(objective, text, n_layers=2))
    config = tuning(start, "translation", write_task(tmp_path / "d", "translation"),
                    freeze_layers=1, weight_decay=0.5, batch_size=16)  # fmt: skip
    trainer = Trainer.start(tmp_path / "run", config)
    before = arrays(trainer)
    for name, array in leaves(start.p):
        np.testing.assert_array_equal(array, before[name])
    assert len(before) == len(list(leaves(start.p)))
    trainer.fit(log=None)
    for name, array in leaves(trainer.p):
        if not name.endswith("key.bias"):
            frozen = name.startswith(("source.", "encoder.layers.0.", "decoder.layers.0."))
            assert np.array_equal(array, before[name]) == frozen, name


def test_labels_of_a_fine_tuned_start_are_not_inherited(tmp_path, bert):
    first = fitted(
        tmp_path / "first",
        tuning(bert, "classification", write_task(tmp_path / "a", "classification")),
    )
    other = write_task(tmp_path / "b", "classification")
    for path in other.iterdir():
        lines = [line.rpartition("\t")[0] for line in path.read_text().splitlines()]
        path.write_text("".join(f"{t}\t{'ab'[i % 2]}\n" for i, t in enumerate(lines)))
    second = fitted(tmp_path / "second", tuning(first, "classification", other))
    assert first.run.vocabulary.labels == ("hears", "likes", "sees")
    assert second.run.vocabulary.labels == ("a", "b")
    assert open_run(tmp_path / "second").vocabulary.labels == ("a", "b")
    third = tuning(second, "labelling", write_task(tmp_path / "c", "labelling"))
    assert fitted(tmp_path / "third", third).run.vocabulary.labels == ("B-ANIMAL", "O")


def test_the_same_labels_get_a_new_head_too(tmp_path, bert):
    corpus = write_task(tmp_path / "a", "classification")
    first = fitted(tmp_path / "first", tuning(bert, "classification", corpus))
    second = Trainer.start(tmp_path / "second", tuning(first, "classification", corpus))
    assert not np.array_equal(second.p.head.weight, first.p.head.weight)
    np.testing.assert_array_equal(second.p.trunk.pooler.weight, first.p.trunk.pooler.weight)


def refused(folder, config):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Trainer.start(folder, config)
    assert "\n" not in str(error.value)
    assert not folder.exists()
    return str(error.value)


@pytest.mark.parametrize(
    "change",
    [{"d_model": 16}, {"n_layers": 1}, {"n_layers": 3}, {"n_heads": 4}, {"d_ff": 20},
     {"norm": "post"}, {"activation": "relu"}, {"positions": "none"}, {"context": 30},
     {"bias": False}],
    ids=str,
)  # fmt: skip
def test_a_start_of_another_shape_is_one_clear_line(tmp_path, bert, documents, change):
    corpus = write_task(tmp_path / "data", "classification")
    config = changed(tuning(bert, "classification", corpus), **change)
    ((name, value),) = change.items()
    line = refused(tmp_path / "run", config)
    assert f"{tmp_path / 'bert'} does not fit: its {name} is" in line
    assert str(value) in line


@pytest.mark.parametrize("task", ["causal", "translation", "spans"])
def test_a_start_of_another_architecture_is_one_clear_line(tmp_path, bert, documents, task):
    with pytest.raises(ValueError, match="is encoder-only") as error:
        inherited(bert.run, task)
    assert "\n" not in str(error.value)
    text = tmp_path / "text.txt"
    text.write_text("the cat sees the dog . " * 90)
    corpus = write_task(tmp_path / "d", task) if task == "translation" else text
    config = settings(task, corpus, n_layers=2, pretrained=str(tmp_path / "bert"))
    assert "is encoder-only" in refused(tmp_path / "run", config)


def test_separate_vocabularies_are_kept_and_denoising_refuses_them(tmp_path):
    corpus = write_task(tmp_path / "d", "translation")
    config = settings("translation", corpus, shared_vocabulary=False)
    start = fitted(tmp_path / "start", config)
    again = Trainer.start(
        tmp_path / "again",
        tuning(start, "summarisation", write_task(tmp_path / "e", "summarisation")),
    )
    assert again.run.vocabulary == start.run.vocabulary
    text = tmp_path / "text.txt"
    text.write_text("the cat sees the dog . " * 90)
    line = refused(tmp_path / "run", tuning(start, "spans", text))
    assert "separate vocabularies" in line


def test_a_missing_or_damaged_start_is_one_clear_line(tmp_path, bert):
    corpus = write_task(tmp_path / "d", "labelling")
    config = tuning(bert, "labelling", corpus)
    line = refused(tmp_path / "run", changed(config, pretrained=str(tmp_path / "nothing")))
    assert "is not a run folder" in line
    bert.run.checkpoint.unlink()
    assert "has no checkpoint" in refused(tmp_path / "run", config)


def test_what_is_inherited_is_not_on_the_command_line(capsys):
    from numpylm.cli import main

    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    text = capsys.readouterr().out
    for name in INHERITED:
        assert f"--{name.replace('_', '-')} " not in text
    for name in ("freeze-trunk", "freeze-layers", "corpus", "dropout", "lr"):
        assert f"--{name} " in text
    assert "--pretrained" not in text
