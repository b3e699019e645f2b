"""§3.3 Texts for texts: layout, what is left out, vocabularies, searching, smoothing."""

from functools import partial

import numpy as np
import pytest

from numpylm.generation.beam_search import beam_search, greedy_search
from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.denoising import denoising_forward
from numpylm.tasks.loading import TASKS, load_task
from numpylm.tasks.trained import decode_ordinary, encode_known
from numpylm.tasks.writer import Writer
from numpylm.training.data_parallel import DataParallel
from numpylm.training.trainer import Trainer
from tests.tiny import changed, config_of, fitted, settings, write_task

TOYS = ("copy", "reverse", "sort")


@pytest.fixture
def corpus(tmp_path):
    return write_task(tmp_path / "pairs", "translation")


@pytest.fixture
def small_toys(monkeypatch):
    for name in TOYS:
        data = TASKS[name].data
        load = partial(data.load, sizes=(40, 8, 8), length=5)
        monkeypatch.setattr(TASKS[name], "data", data._replace(load=load))


def shaken(objective, size=0.5):
    """(theta, p) far from the start, so that the model has opinions."""
    return jittered(objective.init(0)[1], 1, size=size, dtype=np.float32)


def outspoken(objective, end=0.0):
    """(theta, p) that writes words, and its end as seldom as wanted; needs ``tied=False``."""
    theta, p = shaken(objective)
    p.output.bias[1] = p.output.bias[objective.target.size :] = -100.0  # 1: the end of a line
    p.output.bias[objective.target.end] = end
    return theta, p


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_layout_of_a_batch(corpus, tokenizer, shared):
    config = settings(
        "translation", corpus, tokenizer=tokenizer, shared_vocabulary=shared, context=40
    )
    objective = load_task(config, None)
    assert (objective.vocabulary.target is None) == shared
    s, t, tokenizers = objective.source, objective.target, objective.vocabulary
    target_tokenizer = tokenizers.target or tokenizers.tokenizer
    wanted = sorted(tuple(p) for p in objective.dataset.valid)
    found = []
    for batch in objective.held_out("valid"):
        for source, mask, target_in, target_out in zip(*batch.values(), strict=True):
            n, m = int(mask.sum()), int((target_out != IGNORE).sum())
            assert mask[:n].all()
            assert (source[n:] == s.pad).all()
            assert (source[n - 1], target_out[m - 1], target_in[0]) == (s.end, t.end, t.start)
            np.testing.assert_array_equal(target_in[1:m], target_out[: m - 1])
            assert (target_in[m:] == t.pad).all()
            found.append((
                tokenizers.tokenizer.decode(source[: n - 1]),
                target_tokenizer.decode(target_out[: m - 1]),
            ))  # fmt: skip
    assert sorted(found) == wanted
    sizes = {"vocab_size": s.vocab_size, "target_vocab_size": None if shared else t.vocab_size}
    assert objective.sizes(tokenizers) == sizes
    assert objective.count(batch) == np.count_nonzero(batch["target_out"] != IGNORE)


def test_vocabularies_come_from_the_training_part(corpus):
    for part, word in (("train", "trainword"), ("valid", "validword")):
        path = corpus / f"{part}.tsv"
        path.write_text(path.read_text() + f"source{word}\ttarget{word}\n")
    shared = load_task(settings("translation", corpus), None).vocabulary.tokenizer
    apart = load_task(settings("translation", corpus, shared_vocabulary=False), None).vocabulary
    assert {"sourcetrainword", "targettrainword"} <= set(shared.words)
    assert not any("validword" in w for w in (*shared.words, *apart.target.words))
    assert "sourcetrainword" in apart.tokenizer.words
    assert "sourcetrainword" not in apart.target.words
    assert "targettrainword" in apart.target.words
    assert "targettrainword" not in apart.tokenizer.words


def test_pairs_longer_than_the_context_are_left_out_and_counted(tmp_path, corpus):
    """A source and its end fill the context of 12 exactly, and so does a target."""
    for part in ("train", "valid", "test"):
        path = corpus / f"{part}.tsv"
        extra = [("e" + " e" * 10, "x"), ("x", "f" + " f" * 10)]  # 11 tokens fit
        extra += [("g" + " g" * 11, "x"), ("x", "h" + " h" * 11)]  # 12 do not
        path.write_text(path.read_text() + "".join(f"{s}\t{t}\n" for s, t in extra))
    run = Trainer.start(tmp_path / "run", settings("translation", corpus))
    summary = config_of(tmp_path / "run")["corpus"]
    assert summary["train"] == 34
    for part, kept in (("train", 32), ("valid", 9), ("test", 8)):
        assert summary[f"{part}_longer_than_context"] == 2
        assert len(run.task.encoded[part]) == kept
    run.fit(log=None)
    with pytest.raises(ValueError, match="no pair of pairs is short enough for a context of 2"):
        load_task(settings("translation", corpus, context=2), None)


def test_a_source_beyond_the_context_gets_an_empty_answer(corpus):
    objective = load_task(settings("translation", corpus, tied=False), None)
    _, p = outspoken(objective, end=-50.0)
    writer = Writer(p, objective.model, objective.vocabulary)
    long, exact = " ".join(["cat"] * 12), " ".join(["cat"] * 11)
    assert writer.write([exact, long, exact])[1] == ""
    assert writer.write([exact, long, exact])[::2] == writer.write([exact]) * 2
    assert len(writer.write([exact])[0].split()) == 12


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("beam", [1, 3])
def test_the_writer_writes_what_the_search_finds(corpus, shared, beam):
    config = settings("translation", corpus, shared_vocabulary=shared, tied=False)
    objective = load_task(config, None)
    theta, p = outspoken(objective, end=1.0)
    pairs = objective.dataset.valid
    target = objective.target_tokenizer
    expected = []
    for pair in pairs:
        source = objective.encode_source(pair.source)[None]
        search = greedy_search if beam == 1 else partial(beam_search, beam=beam)
        (h,) = search(
            p, source, config=objective.model, start=objective.target.start,
            end=objective.target.end, max_tokens=12,
        )  # fmt: skip
        expected.append(decode_ordinary(target, h.ids))
    with DataParallel.of(objective, theta, p) as parallel:
        found = Writer(p, objective.model, objective.vocabulary, parallel.run).write(
            [pair.source for pair in pairs], beam=beam
        )
        scores = objective.scores(parallel, "valid", beam=beam)
    assert found == expected
    assert len(set(found)) > 1
    assert scores == objective.data.score(expected, [pair.target for pair in pairs])


@pytest.mark.parametrize("beam", [1, 2])
def test_an_answer_does_not_depend_on_the_others(corpus, beam):
    """A short source beside a long one is padded, and must not get more room for its answer."""
    objective = load_task(settings("translation", corpus, context=40, tied=False), None)
    _, p = outspoken(objective, end=-50.0)
    writer = Writer(p, objective.model, objective.vocabulary)
    short, long = "cat dog", "cat " * 30 + "dog"
    assert writer.write([short, long], beam=beam) == [
        *writer.write([short], beam=beam), *writer.write([long], beam=beam),
    ]  # fmt: skip
    assert len(writer.write([short], beam=beam)[0].split()) == 2 * 3 + 10


@pytest.mark.parametrize("beam", [0, -1])
def test_a_beam_below_one_is_refused(corpus, beam):
    objective = load_task(settings("translation", corpus), None)
    writer = Writer(objective.init(0)[1], objective.model, objective.vocabulary)
    with pytest.raises(ValueError, match=f"beam is {beam}"):
        writer.write(["the cat"], beam=beam)


def test_label_smoothing_is_for_training_only(corpus):
    config = settings("translation", corpus, label_smoothing=0.3)
    objective = load_task(config, None)
    theta, p = shaken(objective)
    batch = objective.batch(0)
    plain, smooth = (
        float(denoising_forward(p, **batch, config=objective.model, label_smoothing=e)[0])
        for e in (0.0, 0.3)
    )
    assert abs(plain - smooth) > 1e-3
    with DataParallel.of(objective, theta, p) as parallel:
        assert parallel.gradient([batch], [0])[0] == pytest.approx(smooth, rel=1e-5)
        (loss,) = parallel.losses([batch], objective.count(batch))
        assert loss == pytest.approx(plain, rel=1e-5)
        everything = objective.measure(parallel, "valid")["loss"]
    total = sum(objective.count(b) for b in objective.held_out("valid"))
    by_hand = sum(
        float(denoising_forward(p, **objective.padded([pair]), config=objective.model)[0])
        * (len(pair[1]) - 1)
        for pair in objective.encoded["valid"]
    )
    assert everything == pytest.approx(by_hand / total, rel=1e-4)


def test_every_pass_sees_every_pair_once_and_passes_differ(corpus):
    objective = load_task(settings("translation", corpus), None)
    passes = [[objective.buckets.batch(8 * k + i) for i in range(8)] for k in range(2)]
    for one in passes:
        assert sorted(i for batch in one for i in batch) == list(range(30))
    assert passes[0] != passes[1]


@pytest.mark.parametrize("name", ["translation", "summarisation", *TOYS])
def test_a_run_resumes_bit_for_bit(tmp_path, corpus, small_toys, name):
    data = "generated" if name in TOYS else corpus
    config = settings(name, data, dropout=0.1, context=14, shared_vocabulary=name in TOYS)
    whole = fitted(tmp_path / "whole", config)
    part = Trainer.start(tmp_path / "part", config)
    with part.parallel() as parallel:
        next(part.steps(parallel))
    part.save()
    resumed = Trainer.resume(tmp_path / "part")
    assert resumed.task.vocabulary == whole.task.vocabulary
    resumed.fit(log=None)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    for split in ("train", "valid", "test"):
        assert whole.evaluate(split) == resumed.evaluate(split)
    if name in TOYS:
        return
    path = corpus / "test.tsv"
    path.write_text(path.read_text().replace("cat", "dog", 1))
    with pytest.raises(ValueError, match="has changed since"):
        Trainer.resume(tmp_path / "part")


def test_a_tiny_model_learns_to_copy(tmp_path, small_toys):
    config = settings("copy", "generated", context=8, steps=60, eval_every=60, batch_size=20)
    trainer = fitted(tmp_path / "run", config)
    first, last = trainer.run.metrics[0]["val_loss"], trainer.run.metrics[-1]["val_loss"]
    assert last < first - 0.3


def test_unknown_characters_are_left_out_and_unknown_words_stay(corpus):
    char = load_task(settings("translation", corpus, tokenizer="char", context=40), None).vocabulary
    word = load_task(settings("translation", corpus), None).vocabulary
    ids = encode_known(char.tokenizer, "Zcat☃")
    assert char.tokenizer.decode(ids) == "cat"
    assert word.tokenizer.decode(encode_known(word.tokenizer, "zebra cat")) == "<unk> cat"
    assert len(encode_known(char.tokenizer, "☃")) == 0


def test_a_source_language_is_chosen(tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for part in ("train", "val", "test"):
        (folder / f"{part}.de").write_text("hund\nkatze\n" * 3)
        (folder / f"{part}.en").write_text("dog\ncat\n" * 3)
    config = settings("translation", folder)
    assert load_task(config, None).dataset.train[0] == ("hund", "dog")
    back = changed(config, source_language="en", target_language="de")
    assert load_task(back, None).dataset.train[0] == ("dog", "hund")
    with pytest.raises(ValueError, match="go together"):
        changed(config, source_language="en")
    with pytest.raises(ValueError, match="has the languages de, en"):
        load_task(changed(back, source_language="fr"), None)
