"""§3.3 step 4: a trained model answers; what it cannot answer is one clear line."""

import json

import numpy as np
import pytest

import numpylm
from numpylm.layers.linear import linear_forward
from numpylm.models.bert import bert_forward, masked_head_forward, pooler_forward
from numpylm.models.heads import classifier_forward
from numpylm.pipelines.predictor import Predictor, load_predictor
from numpylm.tasks import next_sentence
from numpylm.tasks.classification import Classification
from numpylm.tasks.trained import Trained
from numpylm.training.checkpoint import load_checkpoint, save_checkpoint
from numpylm.training.data_parallel import DataParallel
from tests.tiny import fitted, settings, write_documents, write_task

DOCUMENTS = ("masked", "next-sentence", "bert")
TASKS = ("classification", "labelling", "answering", "translation", "summarisation")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """``trained(objective, tokenizer)``: the folder of a tiny run, whose parameters are shaken."""
    made = {}

    def make(objective, tokenizer="word", **changes):
        key = (objective, tokenizer, *changes.items())
        if key in made:
            return made[key]
        folder = tmp_path_factory.mktemp("runs")
        if objective in DOCUMENTS:
            corpus = write_documents(folder / "documents")
        elif objective in TASKS:
            corpus = write_task(folder / "data", objective)
        else:
            corpus = folder / "text.txt"
            corpus.write_text("the cat sees the dog . the owl hears the bee .\n" * 40)
        context = {"word": 24, "char": 90, "byte": 90}[tokenizer]
        config = settings(
            objective, corpus, tokenizer=tokenizer, context=context, steps=1, **changes
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(next_sentence, "PAIRS_HELD_OUT", 50)
            run = fitted(folder / "run", config).run
        checkpoint = run.load_model()[0]
        rng = np.random.default_rng(0)
        for array in checkpoint.parameters.values():
            array += 0.4 * rng.standard_normal(array.shape).astype(np.float32)
        save_checkpoint(run.checkpoint, checkpoint)
        assert load_checkpoint(run.checkpoint).step == 1
        return made.setdefault(key, folder / "run")

    return make


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


def refused(predictor, *arguments, **named):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        predictor.predict(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
def test_a_class_and_its_probability(trained, tokenizer):
    found = load_predictor(trained("classification", tokenizer))
    labels = found.run.vocabulary.labels
    for text in ("the cat sees the dog", "The CAT sees, the dog", "the owl hears the bee ."):
        answer = found.predict(text)
        split = text.lower().replace(",", " ,")
        t, s = found.run.vocabulary.tokenizer, found.trained.special
        if tokenizer == "char":
            split = "".join(c for c in split if c in t.symbols)
        ids = np.concatenate([[s.cls], t.encode(split), [s.sep]])[None]
        expected = softmax(classifier_forward(found.p, ids, config=found.run.model)[0][0])
        assert answer["label"] == labels[int(expected.argmax())]
        assert answer["probability"] == pytest.approx(expected.max(), rel=1e-6)
        json.dumps(answer)


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
def test_a_label_for_each_word(trained, tokenizer):
    found = load_predictor(trained("labelling", tokenizer))
    answer = found.predict("the U.S. cat does n't see The zebra ,")
    words = ["the", "U.S.", "cat", "does", "n't", "see", "The", "zebra", ","]
    assert answer["words"] == words  # as a file has them: those between blanks
    assert len(answer["labels"]) == 9
    assert set(answer["labels"]) <= {"B-ANIMAL", "O"}
    # as the run itself scores its own sentences
    objective = numpylm.training.trainer.Trainer.resume(found.run.folder).task
    theta = np.concatenate([a.ravel() for _, a in _leaves(found.p)])
    with DataParallel.of(objective, theta, found.p) as q:
        by_run = objective.predictions(q, objective.rows["valid"])
    for example, labels in zip(objective.dataset.valid, by_run, strict=True):
        assert found.predict(" ".join(example.words))["labels"] == list(labels)


def _leaves(p):
    return list(numpylm.parameters.leaves(p))


@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
def test_an_answer_is_the_span_that_it_names(trained, tokenizer):
    found = load_predictor(trained("answering", tokenizer))
    objective = numpylm.training.trainer.Trainer.resume(found.run.folder).task
    theta = np.concatenate([a.ravel() for _, a in _leaves(found.p)])
    with DataParallel.of(objective, theta, found.p) as q:
        by_run = objective.predictions(q, objective.rows["valid"])
    for example, wanted in zip(objective.dataset.valid, by_run, strict=True):
        answer = found.predict(example.story, second=example.question)
        assert answer["answer"] == wanted
        words = example.story.split()
        assert " ".join(words[answer["start"] : answer["end"]]) == wanted
    assert "takes a second text" in refused(found, "the cat sees")
    assert "takes a second text" in refused(found, "the cat sees", second=" \n")


@pytest.mark.parametrize("tokenizer", ["word", "char"])
@pytest.mark.parametrize("beam", [1, 3])
def test_texts_are_those_of_the_writer(trained, tokenizer, beam):
    folder = trained("translation", tokenizer, tied=False)
    found = load_predictor(folder)
    objective = numpylm.training.trainer.Trainer.resume(folder).task
    sources = [pair.source for pair in objective.dataset.valid]
    from numpylm.tasks.writer import Writer

    written = Writer(found.p, found.run.model, found.run.vocabulary).write(sources, beam=beam)
    assert [found.predict(text, beam=beam)["text"] for text in sources] == written
    assert "beam is 0" in refused(found, "the cat", beam=0)


def test_where_the_decoder_looked(trained):
    found = load_predictor(trained("translation", tied=False))
    source, target, weights = found.attention("the cat sees")
    assert source == ["the", "cat", "sees", "</s>"]
    assert target[-1] == "</s>"
    assert weights.shape == (len(target), 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)
    found.attention("cat " * 22)  # an answer of a whole context
    with pytest.raises(ValueError, match="no encoder-decoder attention"):
        load_predictor(trained("labelling")).attention("the cat")


@pytest.mark.parametrize("name", ["masked", "bert"])
@pytest.mark.parametrize("tokenizer", ["word", "char", "byte"])
def test_gaps_are_filled_as_the_head_says(trained, name, tokenizer):
    found = load_predictor(trained(name, tokenizer))
    t, s = found.run.vocabulary.tokenizer, found.trained.special
    answer = found.predict("The [MASK] sees the d[MASK]g")
    if tokenizer == "word":
        pieces = ["the", None, "sees the d", None, "g"]
    else:
        pieces = ["the ", None, " sees the d", None, "g"]  # the blanks beside a gap are text
    ids = [t.encode(piece) if piece else [s.mask] for piece in pieces]
    ids = np.concatenate([[s.cls], *ids, [s.sep]]).astype(np.int64)[None]
    h, _ = bert_forward(found.p, ids, config=found.run.model)
    logits, _ = masked_head_forward(found.p, h[ids == s.mask])
    for gap, row in zip(answer["gaps"], logits, strict=True):
        expected = softmax(row[: s.size])  # no special token fills a gap
        best = np.argsort(-expected, kind="stable")[: min(5, s.size)]
        assert list(gap.values()) == pytest.approx(expected[best].tolist(), rel=1e-5)
        names = [t.decode(np.array([i])) if i < 128 else f"<0x{i:02x}>" for i in best]
        assert list(gap) == names
    assert "write [MASK]" in refused(found, "the cat sees the dog")
    assert len(found.predict("[MASK]")["gaps"]) == 1
    assert len(found.predict("[MASK][MASK] [MASK]")["gaps"]) == 3


@pytest.mark.parametrize("name", ["next-sentence", "bert"])
def test_whether_b_follows_a(trained, name):
    found = load_predictor(trained(name))
    answer = found.predict("The cat sees.", second="The dog hears.")
    t, s = found.run.vocabulary.tokenizer, found.trained.special
    a, b = t.encode("the cat sees ."), t.encode("the dog hears .")
    ids = np.concatenate([[s.cls], a, [s.sep], b, [s.sep]])[None]
    segments = (np.arange(11) >= 6)[None].astype(np.int64)
    h, _ = bert_forward(found.p, ids, segments, config=found.run.model)
    logits, _ = linear_forward(found.p.next_sentence_head, pooler_forward(found.p.pooler, h)[0])
    assert answer == {"follows": pytest.approx(softmax(logits[0])[1], rel=1e-5)}
    if name == "next-sentence":
        assert "takes a second text" in refused(found, "the cat")


@pytest.mark.parametrize("name", ["spans", "deletion"])
@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_denoisers_write(trained, name, tokenizer):
    found = load_predictor(trained(name, tokenizer))
    assert isinstance(found.predict("the cat the dog")["text"], str)


@pytest.mark.parametrize(
    "name", ["classification", "labelling", "translation", "spans", "masked", "summarisation"]
)
def test_a_second_text_is_not_wanted(trained, name):
    found = load_predictor(trained(name))
    assert "takes one text" in refused(found, "the [MASK]", second="and more")


@pytest.mark.parametrize("name", [*TASKS, *DOCUMENTS, "spans", "deletion"])
@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_what_cannot_be_answered_is_one_line(trained, name, tokenizer):
    found = load_predictor(trained(name, tokenizer))
    second = {"second": "who is it ?"} if name in ("answering", "next-sentence") else {}
    for text in ("", "  ", "\n"):
        assert "there is no text" in refused(found, text, **second)
    long = "[MASK] " + "cat " * 100
    if name in ("classification", "labelling"):  # cut, as in training and evaluation
        answer, room = found.predict(long), found.run.config.context - 2
        assert answer["cut"] > 0
        if name == "labelling" and tokenizer == "word":
            assert [bool(label) for label in answer["labels"]] == [i < room for i in range(101)]
            assert "cat/(cut)" in found.run.config.task.readable(answer)
        if name == "classification" and tokenizer == "word":
            same = found.predict("[MASK] " + "cat " * (room - 3))
            assert same["probability"] == answer["probability"]
            assert "without the last" in found.run.config.task.readable(answer)
        return
    line = refused(found, long, **second)
    assert "the model takes" in line
    assert "tokens with special ones" in line


@pytest.mark.parametrize("name", [*TASKS, *DOCUMENTS, "spans"])
@pytest.mark.parametrize("text", ["[MASK] zebra", "[MASK] ☃", "☃", "你好 [MASK]", "a\tb\nc [MASK]"])
def test_unknown_words_and_characters(trained, name, text):
    for tokenizer in ("word", "char", "byte"):
        if name in ("spans", "summarisation") and tokenizer == "byte":
            continue
        found = load_predictor(trained(name, tokenizer))
        second = {"second": "who 谁 ?"} if name in ("answering", "next-sentence") else {}
        try:
            json.dumps(found.predict(text, **second))
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert any(w in str(error) for w in ("[MASK]", "knows none of")), error  # noqa: PT017


@pytest.mark.parametrize(
    "name", ["classification", "labelling", "translation", "next-sentence", "answering"]
)
def test_a_text_of_unknown_characters_is_no_text(trained, name):
    """Of a text that the vocabulary does not know at all nothing would be left to read."""
    found = load_predictor(trained(name, "char"))
    second = {"second": "who"} if name in ("answering", "next-sentence") else {}
    assert "knows none of" in refused(found, "☃☃", **second)
    if second:
        assert "knows none of" in refused(found, "cat", second="☃")


def test_a_task_answers_without_its_corpus(trained):
    run, p = (found := load_predictor(trained("classification"))).run, found.p
    alone = Trained(p, run.model, run.vocabulary)
    text = "the cat sees the dog"
    assert Classification.predict(alone, text) == found.predict(text)
    assert Classification.predict(alone, "cat " * 30)["cut"] == 30 - 22
    none = load_predictor(trained("classification", "char"))
    with pytest.raises(ValueError, match="the vocabulary of this model knows none of"):
        Classification.predict(Trained(none.p, none.run.model, none.run.vocabulary), "☃")


def test_a_language_model_and_a_task_model_point_to_each_other(trained):
    causal, task = trained("causal"), trained("labelling")
    with pytest.raises(ValueError, match=f"numpylm generate {causal}"):
        load_predictor(causal)
    with pytest.raises(ValueError, match=f"numpylm predict {task}"):
        numpylm.load(task)
    assert isinstance(load_predictor(task), Predictor)
    with pytest.raises(ValueError, match="not a run folder"):
        load_predictor(task / "nothing")


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_sentinels_are_read_and_written(trained, monkeypatch, tokenizer):
    """``<0>`` is one token of the source; the answer names the sentinels between its parts."""
    predictor = load_predictor(trained("spans", tokenizer))
    own, special = predictor.run.vocabulary.tokenizer, predictor.trained.special
    seen = []

    def write_ids(self, sources, *, beam=1):
        seen.extend(sources)
        cat, dog = own.encode("cat"), own.encode("dog")
        first, second = special.sentinels[:2]
        return [(int(first), *cat.tolist(), int(second), *dog.tolist())]

    monkeypatch.setattr("numpylm.tasks.writer.Writer.write_ids", write_ids)
    text = predictor.predict("the <0> sees the <1> .")["text"]
    assert text.split() == (["<0>", "cat", "<1>", "dog"] if tokenizer == "word" else [text])
    assert text.replace(" ", "") == "<0>cat<1>dog"
    marks = seen[0][seen[0] >= special.size].tolist()
    assert marks == [*special.sentinels[:2].tolist(), special.end]


@pytest.mark.parametrize("name", ["classification", "labelling", "translation", "masked"])
def test_the_share_of_unknown_words_is_said_and_gibberish_refused(trained, name):
    """A class of gibberish had a probability of 0.985."""
    found = load_predictor(trained(name))
    mask = "[MASK] " if name == "masked" else ""
    assert found.predict(mask + "the zebra sees qwxz")["unknown"] == 0.5
    assert "unknown" not in found.predict(mask + "the cat")
    assert "knows none of" in refused(found, mask + "qwxz zzyx")
    if name == "translation":
        with pytest.raises(ValueError, match="knows none of 'qwxz zzyx'"):
            found.attention("qwxz zzyx")
