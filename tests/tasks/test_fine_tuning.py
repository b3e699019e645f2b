"""§3.3 An encoder with a head: where labels stand, what is cut, spans; padding is hidden."""

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.heads import classifier_forward
from numpylm.tasks import loading
from numpylm.tasks.answering import best_span
from numpylm.tasks.fine_tuning import word_pieces
from numpylm.tasks.loading import load_task
from numpylm.tasks.scores import accuracy
from numpylm.training.data_parallel import DataParallel
from numpylm.training.trainer import Trainer
from tests.tiny import config_of, fitted, settings, write_task

TASKS = ("classification", "labelling", "answering")
WIDE = {"char": 90, "byte": 90, "word": 24}


@pytest.fixture
def corpus(tmp_path, request):
    return write_task(tmp_path / "data", request.param)


def load(name, corpus, tokenizer="word", **changes):
    return load_task(
        settings(name, corpus, **{"tokenizer": tokenizer, "context": WIDE[tokenizer], **changes}),
        None,
    )


def shaken(objective):
    return jittered(objective.init(0)[1], 1, dtype=np.float32)


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
@pytest.mark.parametrize("corpus", ["classification"], indirect=True)
def test_a_text_between_its_marks(corpus, tokenizer):
    objective = load("classification", corpus, tokenizer)
    s = objective.special
    assert objective.vocabulary.labels == ("hears", "likes", "sees")
    for row, example in zip(objective.rows["valid"], objective.dataset.valid, strict=True):
        assert (row["ids"][0], row["ids"][-1]) == (s.cls, s.sep)
        assert objective.vocabulary.tokenizer.decode(row["ids"][1:-1]) == example.text
        assert objective.vocabulary.labels[int(row["labels"])] == example.label


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
@pytest.mark.parametrize("corpus", ["labelling"], indirect=True)
def test_a_label_stands_at_the_first_token_of_its_word(corpus, tokenizer):
    objective = load("labelling", corpus, tokenizer)
    s, t = objective.special, objective.vocabulary.tokenizer
    for row, example in zip(objective.rows["train"], objective.dataset.train, strict=True):
        assert (row["ids"][0], row["ids"][-1]) == (s.cls, s.sep)
        assert len(row["labels"]) == len(row["ids"])
        assert t.decode(row["ids"][1:-1]).split() == list(example.words)
        places = np.flatnonzero(row["labels"] != IGNORE)
        assert len(places) == len(example.words)
        for place, word, label in zip(places, example.words, example.labels, strict=True):
            rest = t.decode(row["ids"][place:-1])
            assert rest.startswith(word)
            assert (
                place == 1 or tokenizer == "word" or t.decode(row["ids"][place - 1 : place]) == " "
            )
            assert objective.vocabulary.labels[row["labels"][place]] == label
        assert objective.reference(row) == example.labels


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
@pytest.mark.parametrize("corpus", ["answering"], indirect=True)
def test_a_span_is_the_answer(corpus, tokenizer):
    objective = load("answering", corpus, tokenizer)
    s, t = objective.special, objective.vocabulary.tokenizer
    rows = objective.rows["train"]
    batch = objective.padded(rows[:9])
    for i, example in enumerate(objective.dataset.train[:9]):
        n = int(batch["mask"][i].sum())
        ids = batch["ids"][i, :n]
        first, second = np.flatnonzero(ids == s.sep)
        assert ids[0] == s.cls
        assert second == n - 1
        assert t.decode(ids[1:first]) == example.question
        assert t.decode(ids[first + 1 : second]).split() == example.story.split()
        np.testing.assert_array_equal(
            np.flatnonzero(batch["story"][i]), np.arange(first + 1, second)
        )
        np.testing.assert_array_equal(batch["segments"][i, :n], np.arange(n) > first)
        start, end = batch["spans"][i]
        assert t.decode(ids[start : end + 1]).strip() == example.answer
        assert objective.reference(rows[i]) == example.answer
        # the model that is certain of the span answers it
        logits = np.zeros((batch["ids"].shape[1], 2), np.float32)
        logits[start, 0] = logits[end, 1] = 50.0
        logits[first - 1] = 99.0  # the question cannot be an answer
        assert objective.answer(rows[i], logits) == example.answer


@pytest.mark.parametrize("corpus", ["answering"], indirect=True)
def test_an_unknown_word_is_not_another_unknown_word(corpus):
    """Both are <unk> to the model, but the answer is a word of the story."""
    path = corpus / "valid.tsv"
    path.write_text("who sees the cat ?\tthe zebra sees . the giraffe hears .\tthe giraffe\n")
    objective = load("answering", corpus)
    (row,) = objective.rows["valid"]
    logits = np.zeros((30, 2), np.float32)
    logits[7, 0] = logits[8, 1] = 50.0
    found = objective.answer(row, logits)
    assert found == "the zebra"
    assert objective.reference(row) == "the giraffe"


@pytest.mark.parametrize("longest_word", [1, 5])
def test_best_span_against_all_spans(rng, longest_word):
    for _ in range(100):
        lengths = rng.integers(1, longest_word + 1, int(rng.integers(1, 25)))
        word_of = np.repeat(np.arange(len(lengths)), lengths)
        n, offset = len(word_of), int(rng.integers(0, 4))
        logits = rng.normal(size=(n + offset + 3, 2)).astype(np.float32)
        logits[:offset] = logits[offset + n :] = 50.0  # not of the story
        inside = logits[offset : offset + n].astype(np.float64)
        spans = [(i, j) for i in range(n) for j in range(i, n) if word_of[j] - word_of[i] < 10]
        i, j = max(spans, key=lambda s: inside[s[0], 0] + inside[s[1], 1])
        assert best_span(logits, offset, word_of, 10) == (word_of[i], word_of[j])


def test_an_answer_is_as_long_as_the_longest_of_training(tmp_path):
    """With a limit of ten words, a trained model with a loss of 0.004 scored 0."""
    logits = np.zeros((30, 2), np.float32)
    logits[5, 0] = logits[24, 1] = 9.0  # twenty words
    assert best_span(logits, 2, np.arange(27)) == (3, 22)
    assert best_span(logits, 2, np.arange(27), 20) == (3, 22)
    assert best_span(logits, 2, np.arange(27), 19) != (3, 22)
    corpus = write_task(tmp_path / "data", "answering")
    long = " ".join(["cat"] * 12)
    path = corpus / "train.tsv"
    path.write_text(path.read_text() + f"who ?\tthe {long} .\t{long}\n")
    task = load("answering", corpus)
    assert task.summary["words_in_the_longest_answer"] == task.longest == 12


def test_pieces_of_words_join_to_the_text(tmp_path):
    from numpylm.data.vocabulary import ByteTokenizer, CharTokenizer, WordTokenizer

    words = ("ab", "c", "é", "zz")
    char, word = CharTokenizer.train("abc "), WordTokenizer.train("ab c")
    pieces = word_pieces(char, words)
    assert [char.decode(p) for p in pieces] == ["ab ", "c ", " ", " "]
    assert [word.decode(p) for p in word_pieces(word, words)] == ["ab", "c", "<unk>", "<unk>"]
    assert [len(p) for p in word_pieces(ByteTokenizer(), words)] == [3, 2, 3, 3]
    assert [len(p) for p in word_pieces(CharTokenizer.train("ab"), ("c", "a"))] == [1, 1]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_padding_changes_no_prediction(tmp_path, name, tokenizer):
    objective = load(name, write_task(tmp_path / "data", name), tokenizer)
    theta, p = shaken(objective)
    rows = objective.rows["train"]
    batch = objective.padded(rows)
    logits, _ = classifier_forward(
        p, batch["ids"], batch.get("segments"), config=objective.model, mask=batch["mask"]
    )
    p.head.bias -= logits.reshape(-1, logits.shape[-1]).mean(axis=0)  # so that no label leads
    with DataParallel.of(objective, theta, p) as parallel:
        together = objective.predictions(parallel, rows)
        alone = [objective.predictions(parallel, [row])[0] for row in rows]
        losses = [parallel.losses([objective.padded([row])], 1.0)[0] for row in rows]
        measured = objective.measure(parallel, "train")
    assert together == alone
    assert len({str(a) for a in alone}) > 1
    counts = [objective.count(objective.padded([row])) for row in rows]
    assert measured["loss"] == pytest.approx(sum(losses) / sum(counts), rel=1e-4)
    references = [objective.reference(row) for row in rows]
    if name == "classification":
        assert measured["accuracy"] == accuracy(alone, [e.label for e in objective.dataset.train])
    assert {k: v for k, v in measured.items() if k != "loss"} == objective.data.score(
        alone, references
    )


@pytest.mark.parametrize("name", TASKS)
def test_logits_of_a_row_alone_equal_those_in_a_padded_batch(tmp_path, name):
    objective = load(name, write_task(tmp_path / "data", name))
    _, p = shaken(objective)
    rows = sorted(objective.rows["train"], key=lambda row: len(row["ids"]))
    batch, one = objective.padded([rows[0], rows[-1]]), objective.padded([rows[0]])
    assert not batch["mask"].all()

    def logits(b):
        return classifier_forward(
            p, b["ids"], b.get("segments"), config=objective.model, mask=b["mask"]
        )[0]

    together, alone = logits(batch)[0], logits(one)[0]
    np.testing.assert_allclose(together[: len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_a_run_resumes_bit_for_bit(tmp_path, name, tokenizer):
    corpus = write_task(tmp_path / "data", name)
    config = settings(
        name, corpus, tokenizer=tokenizer, dropout=0.1, context=WIDE[tokenizer], threads=3
    )
    whole = fitted(tmp_path / "whole", config)
    part = Trainer.start(tmp_path / "part", config)
    with part.parallel() as parallel:
        next(part.steps(parallel))
    part.save()
    resumed = Trainer.resume(tmp_path / "part")
    assert resumed.task.vocabulary.labels == whole.task.vocabulary.labels
    resumed.fit(log=None)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    for split in ("train", "valid", "test"):
        assert whole.evaluate(split) == resumed.evaluate(split)
    path = next(corpus.glob("test.*"))
    path.write_text(path.read_text().replace("cat", "dog"))
    with pytest.raises(ValueError, match="has changed since"):
        Trainer.resume(tmp_path / "part")


@pytest.mark.parametrize("corpus", ["classification"], indirect=True)
def test_a_long_text_is_cut_at_its_end_and_counted(tmp_path, corpus):
    path = corpus / "train.tsv"
    exact, long = "cat " * 9 + "dog", "cat " * 10 + "dog"
    path.write_text(path.read_text() + f"{exact}\tsees\n{long}\tsees\n{long} owl\tsees\n")
    run = Trainer.start(tmp_path / "run", settings("classification", corpus))
    assert config_of(tmp_path / "run")["corpus"]["train_longer_than_context"] == 2
    assert "valid_longer_than_context" not in config_of(tmp_path / "run")["corpus"]
    texts = [run.task.vocabulary.tokenizer.decode(r["ids"][1:-1])
             for r in run.task.rows["train"][-3:]]  # fmt: skip
    assert texts == [exact, "cat " * 9 + "cat", "cat " * 9 + "cat"]
    run.fit(log=None)


@pytest.mark.parametrize("tokenizer", ["word", "char"])
@pytest.mark.parametrize("corpus", ["labelling"], indirect=True)
def test_long_sentences_lose_their_last_words(tmp_path, corpus, tokenizer):
    path = corpus / "train.conll"
    path.write_text(path.read_text() + "cat B-ANIMAL\n" * 40)
    config = settings("labelling", corpus, tokenizer=tokenizer, context=27)
    run = Trainer.start(tmp_path / "run", config)
    row = run.task.rows["train"][-1]
    assert len(row["ids"]) == len(row["labels"]) == 27
    kept = {"word": 25, "char": 7}[tokenizer]  # 7 · 4 > 25 > 6 · 4: the first token is enough
    n = len(run.task.dataset.train[-1].words)
    assert run.task.reference(row) == run.task.dataset.train[-1].labels
    logits = np.zeros((27, 2))
    logits[:, run.task.number["B-ANIMAL"]] = 1.0  # right wherever it is asked
    found = run.task.answer(row, logits)
    assert found == ("B-ANIMAL",) * kept + ("",) * (n - kept)
    measured = run.task.data.score([found], [run.task.reference(row)])
    assert measured["accuracy"] == pytest.approx(kept / n)
    assert measured["span_f1"] == pytest.approx(2 * kept / (n + kept))
    assert config_of(tmp_path / "run")["corpus"]["train_longer_than_context"] >= 1
    run.fit(log=None)


@pytest.mark.parametrize("corpus", ["answering"], indirect=True)
def test_a_question_that_does_not_fit_is_left_out_and_counted(tmp_path, corpus):
    path = corpus / "valid.tsv"
    fits, long = ". " * 15, ". " * 16  # 5 + 16 + 3 tokens are a context of 24
    path.write_text(
        path.read_text() + f"who is it ? .\t{fits}cat\tcat\nwho is it ? .\t{long}cat\tcat\n"
    )
    run = Trainer.start(tmp_path / "run", settings("answering", corpus))
    assert config_of(tmp_path / "run")["corpus"]["valid_longer_than_context"] == 1
    assert len(run.task.rows["valid"]) == 8
    run.fit(log=None)
    run.task.answer = lambda row, logits: run.task.reference(row)  # all that it answers is right
    with run.parallel() as parallel:
        measured = run.task.measure(parallel, "valid")
    assert measured["exact_match"] == pytest.approx(8 / 9)
    assert measured["cut"] == 1
    with pytest.raises(ValueError, match="no example of data fits a context of 6"):
        load("answering", corpus, context=6)


@pytest.mark.parametrize("name", ["classification", "labelling"])
@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_label_that_training_does_not_have_is_one_clear_line(tmp_path, name, part):
    corpus = write_task(tmp_path / "data", name)
    path = next(corpus.glob(f"{part}.*"))
    path.write_text(
        path.read_text() + ("a\tunheard\n" if name == "classification" else "a unheard\n")
    )
    with pytest.raises(ValueError, match="label 'unheard' of data is none of those") as error:
        load(name, corpus)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", TASKS)
def test_the_shortest_context(tmp_path, name):
    least = 5 if name == "answering" else 3
    corpus = write_task(tmp_path / "data", name)
    with pytest.raises(ValueError, match=f"{name} needs at least {least}"):
        settings(name, corpus, context=least - 1)
    if name != "answering":
        fitted(tmp_path / "run", settings(name, corpus, context=least))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_it_is_compared_with(tmp_path, name):
    corpus = write_task(tmp_path / "data", name)
    objective = load(name, corpus)
    assert isinstance(objective, loading.TASKS[name])
    assert objective.baselines() == objective.data.baselines(objective.dataset)
    assert objective.counted in objective.batch(0)
    shapes = {a.shape[0] for a in objective.batch(0).values()}
    assert shapes == {4}


@pytest.mark.parametrize("name", TASKS)
def test_padding_is_not_counted_as_tokens(tmp_path, name):
    task = load(name, write_task(tmp_path / "data", name))
    batch = task.padded(task.rows["train"])
    rows = task.rows["train"]
    marks = 3 if name == "answering" else 0
    assert task.tokens(batch) == sum(len(row["ids"]) + marks for row in rows)
    assert task.tokens(batch) < task.positions(batch) == batch["ids"].size


@pytest.mark.parametrize("name", ["classification", "labelling"])
def test_test_examples_that_training_has_are_counted_and_said(tmp_path, name):
    corpus = write_task(tmp_path / "data", name)
    before = load(name, corpus).summary.get("test_also_in_train", 0)
    train, test = (next(corpus.glob(f"{part}.*")) for part in ("train", "test"))
    gap = "" if name == "classification" else "\n"
    test.write_text(test.read_text() + gap + train.read_text())
    task = load(name, corpus)
    known = {example[0] for example in task.dataset.train}
    assert task.summary["test_also_in_train"] == before + len(task.dataset.train)
    assert before == sum(e[0] in known for e in task.dataset.test[: -len(task.dataset.train)])
    assert f"{task.summary['test_also_in_train']:,} test_also_in_train" in task.describe()
