"""§2.3, §3.3 What an encoder sees in pre-training: layout, pairs, corruption, losses, shards."""

import json

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.next_sentence import bert_pretraining_backward, bert_pretraining_forward
from numpylm.parameters import leaves, view
from numpylm.tasks import next_sentence
from numpylm.tasks.loading import load_task
from numpylm.tasks.masked import Masked
from numpylm.tasks.pretraining import word_starts
from numpylm.training.data_parallel import DataParallel
from numpylm.training.trainer import Trainer
from tests.tiny import changed, documents, fitted, settings, write_documents

OBJECTIVES = ("masked", "next-sentence", "bert")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(next_sentence, "PAIRS_HELD_OUT", 200)
    return write_documents(tmp_path / "corpus")


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def restored(batch):
    """The ids before they were corrupted."""
    return np.where(batch["targets"] == IGNORE, batch["ids"], batch["targets"])


def words_of(objective, ids):
    return objective.vocabulary.tokenizer.decode(np.array(ids)).split()


def pairs_of(objective, batch):
    """(words of A, words of B, label) of each row, after checks of its layout."""
    s = objective.special
    ids = restored(batch) if "targets" in batch else batch["ids"]
    for row, segments, mask, label in zip(
        ids, batch["segments"], batch["mask"], batch["labels"], strict=True
    ):
        n = int(mask.sum())
        assert mask[:n].all()
        assert (row[n:] == s.pad).all()
        assert row[0] == s.cls
        first, second = np.flatnonzero(row == s.sep)
        assert second == n - 1
        np.testing.assert_array_equal(
            segments, [0] * (first + 1) + [1] * (n - first - 1) + [0] * (len(row) - n)
        )
        a, b = row[1:first], row[first + 1 : second]
        assert (np.concatenate([a, b]) < s.size).all()
        assert min(len(a), len(b)) >= 1
        yield words_of(objective, a), words_of(objective, b), int(label)


@pytest.mark.parametrize("name", ["next-sentence", "bert"])
@pytest.mark.parametrize("context", [24, 9, 64])
def test_b_follows_a_in_its_document_or_is_of_another(corpus, name, context):
    objective = load_task(settings(name, corpus, context=context, batch_size=50), None)
    text = " ".join(s for d in (corpus / "train.txt").read_text().split("\n\n") for s in [d])
    document_of = {w: w.split("s")[0] for w in text.split() if w.startswith("train")}
    stream = {d: " ".join(d.split()) for d in (corpus / "train.txt").read_text().split("\n\n")}
    labels, starts = [], set()
    for step in range(20):
        batch = objective.batch(step)
        assert batch["ids"].shape[1] <= context
        for a, b, label in pairs_of(objective, batch):
            labels.append(label)
            joined = " ".join(a + b)
            together = any(joined in d for d in stream.values())
            assert any(" ".join(a) in d for d in stream.values())
            assert any(" ".join(b) in d for d in stream.values())
            # B begins with the first word of a sentence, which names its document
            assert b[0].startswith("train")
            starts.add(b[0])
            named = [w for w in a if w.startswith("train")]
            if label:
                assert together
            elif named:
                assert document_of[named[-1]] != document_of[b[0]]
    assert 0.46 < np.mean(labels) < 0.54
    assert len(starts) > 60  # of 84 sentences


def test_a_longer_text_loses_its_far_ends(corpus):
    """A keeps its last tokens, B its first, so that the two still touch."""
    objective = load_task(settings("next-sentence", corpus, context=9), None)
    lengths = set()
    for step in range(20):
        for a, b, _ in pairs_of(objective, objective.batch(step)):
            lengths |= {len(a), len(b)}
            assert a[-1] == "."
    assert lengths == {3}


def test_masked_windows_are_framed_pieces_of_the_text(corpus):
    objective = load_task(settings("masked", corpus, context=10), None)
    stream = objective.streams["train"].tolist()
    seen = set()
    for step in range(12):
        batch = objective.batch(step)
        ids = restored(batch)
        assert ids.shape == (4, 10)
        assert (ids[:, 0] == objective.special.cls).all()
        assert (ids[:, -1] == objective.special.sep).all()
        for row in ids[:, 1:-1].tolist():
            at = [i for i in range(len(stream)) if stream[i : i + 8] == row]
            assert at
            seen.update(at[:1])
    assert len(seen) > 30


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_is_a_function_of_seed_and_step(corpus, name):
    config = settings(name, corpus)
    first, again = (load_task(config, None) for _ in range(2))
    other = load_task(changed(config, seed=2), None)
    for step in (0, 7, 1000):
        assert same(first.batch(step), again.batch(step))
        assert not same(first.batch(step), other.batch(step))
    assert not same(first.batch(0), first.batch(1))
    for split in ("train", "valid", "test"):
        batches = first.held_out(split)
        for a, b in zip(batches, again.held_out(split), strict=True):
            assert same(a, b)
        for a, b in zip(batches, first.held_out(split), strict=True):
            assert same(a, b)


def test_a_window_is_corrupted_otherwise_in_each_epoch(corpus):
    config = settings("masked", corpus, context=12, batch_size=1)
    objective = load_task(config, None)
    per_pass = objective.windows.windows_per_pass
    objective.windows = type(objective.windows)(objective.streams["train"][:12], 1, 10, 1)
    batches = [objective.batch(step) for step in range(6)]
    assert per_pass > 6
    texts = {tuple(restored(b)[0].tolist()) for b in batches}
    assert len(texts) <= 2  # offsets 0 and 1
    assert len({tuple((b["targets"] != IGNORE)[0].tolist()) for b in batches}) > 3


@pytest.mark.parametrize(("name", "rate"), [("masked", 0.15), ("bert", 0.15), ("masked", 0.4)])
def test_shares_of_masked_random_and_kept_tokens(corpus, name, rate):
    config = settings(name, corpus, batch_size=64, mask_rate=rate)
    objective = load_task(config, None)
    ordinary = chosen = masked = changed_ = 0
    for step in range(60):
        batch = objective.batch(step)
        here = batch["targets"] != IGNORE
        before = restored(batch)
        assert (before[here] < objective.special.size).all()  # no special token, no padding
        ordinary += (before < objective.special.size).sum()
        chosen += here.sum()
        masked += (batch["ids"][here] == objective.special.mask).sum()
        changed_ += ((batch["ids"] != before) & (batch["ids"] != objective.special.mask)).sum()
        replaced = batch["ids"][here & (batch["ids"] != objective.special.mask)]
        assert (replaced < objective.special.size).all()
    assert chosen / ordinary == pytest.approx(rate, abs=0.01)
    assert masked / chosen == pytest.approx(0.8, abs=0.02)
    assert changed_ / chosen == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_whole_words_hide_all_characters_of_a_word(corpus, tokenizer):
    config = settings("masked", corpus, tokenizer=tokenizer, whole_words=True, context=30)
    objective = load_task(config, None)
    hidden, parts = 0, 0
    for step in range(20):
        batch = objective.batch(step)
        text = restored(batch)
        for row, target in zip(text, batch["targets"], strict=True):
            letters = objective.vocabulary.tokenizer.decode(row[1:-1])
            here = (target != IGNORE)[1:-1]
            place = 0
            for word in letters.split(" "):
                inside = here[place : place + len(word)]
                assert inside.all() or not inside.any()
                hidden += bool(len(word) and inside.all())
                parts += bool(len(word))
                place += len(word) + 1
    assert 0.05 < hidden / parts < 0.3


def test_word_starts_by_hand(corpus):
    objective = load_task(settings("masked", corpus, tokenizer="char"), None)
    t, s = objective.vocabulary.tokenizer, objective.special
    ids = np.concatenate([[s.cls], t.encode("the cat"), [s.sep], t.encode("c"), [s.sep, s.pad]])
    assert word_starts(t, ids[None], s)[0].astype(int).tolist() == [
        1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_sentences_of_characters_do_not_run_together(corpus, tokenizer):
    objective = load_task(settings("next-sentence", corpus, tokenizer=tokenizer), None)
    text = objective.vocabulary.tokenizer.decode(objective.streams["train"])
    assert ". train" in text
    assert ".train" not in text


def in_float64(objective, seed=0):
    return jittered(objective.init(seed)[1], seed, size=0.3)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_shards_add_up_to_the_serial_gradient(corpus, name, threads):
    config = settings(name, corpus, threads=threads, batch_size=5)
    objective = load_task(config, None)
    theta, p = in_float64(objective)
    batch = objective.batch(3)
    if "targets" in batch:  # two shards without a masked token
        batch["targets"][:2] = IGNORE
        batch["targets"][4] = IGNORE
    count = objective.count(batch)
    masked = np.count_nonzero(batch.get("targets", np.array(IGNORE)) != IGNORE)
    expected = {"masked": masked, "next-sentence": 5, "bert": [masked, 5]}[name]
    np.testing.assert_array_equal(count, expected)

    forward, backward = objective.functions
    loss, cache = forward(p, **batch, config=objective.model)
    gradient = np.zeros_like(theta)
    backward(p, view(p, gradient), 1.0, cache)
    with DataParallel.of(objective, theta, p) as parallel:
        got_loss, got = parallel.gradient([batch], [0])
    assert got_loss == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose(got, gradient, rtol=1e-7, atol=1e-12)


def test_two_micro_batches_are_one_large_batch_for_both_losses(corpus):
    objective = load_task(settings("bert", corpus, batch_size=6, context=33), None)
    theta, p = in_float64(objective)
    batch = objective.batch(0)
    parts = [{n: a[i:j] for n, a in batch.items()} for i, j in ((0, 1), (1, 6))]
    with DataParallel.of(objective, theta, p) as parallel:
        loss, gradient = parallel.gradient([batch], [0])
        gradient = gradient.copy()
        got_loss, got = parallel.gradient(parts, [0])
    assert got_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(got, gradient, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("which", ["masked", "pairs"])
def test_each_loss_alone_reaches_the_embeddings(corpus, which):
    objective = load_task(settings("bert", corpus), None)
    theta, p = in_float64(objective)
    batch = objective.batch(0)
    normalizer = np.array([1.0, 1e30] if which == "masked" else [1e30, 1.0])
    _, cache = bert_pretraining_forward(p, **batch, config=objective.model, normalizer=normalizer)
    gradient = np.zeros_like(theta)
    bert_pretraining_backward(p, view(p, gradient), 1.0, cache)
    sizes = {name: np.abs(a).max() for name, a in leaves(view(p, gradient))}
    for name, size in sizes.items():
        if name.startswith(("pooler", "next_sentence")):
            assert (size > 1e-9) == (which == "pairs"), name
        elif name.startswith("masked_head"):
            assert (size > 1e-9) == (which == "masked"), name
        elif not name.endswith("key.bias"):  # which a softmax does not feel
            assert size > 1e-9, name
    assert sizes["embedding.segments.table"] > 1e-9 if "embedding.segments.table" in sizes else True


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_a_run_resumes_bit_for_bit_and_measures_what_it_says(tmp_path, corpus, name, tokenizer):
    config = settings(name, corpus, tokenizer=tokenizer, dropout=0.1, accumulate=2)
    whole = fitted(tmp_path / "whole", config)
    part = Trainer.start(tmp_path / "part", config)
    with part.parallel() as parallel:
        for _ in range(3):
            next(part.steps(parallel))
    part.save()
    resumed = Trainer.resume(tmp_path / "part")
    assert resumed.step == 3
    resumed.fit(log=None)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    assert whole.evaluate("valid") == resumed.evaluate("valid")
    last = whole.run.metrics[-1]
    for key, value in whole.evaluate("valid").items():
        assert last[f"val_{key}"] == pytest.approx(value)
    expected = {"loss"} | ({"masked_accuracy"} if name != "next-sentence" else set())
    assert set(whole.evaluate("test")) == expected | (
        {"pair_accuracy"} if name != "masked" else set()
    )

    text = corpus / "train.txt"
    text.write_text(text.read_text().replace("cat", "dog", 1))
    with pytest.raises(ValueError, match="has changed since"):
        Trainer.resume(tmp_path / "part")


def test_accuracies_are_those_of_the_logits(corpus):
    """Against a loop over rows without padding."""
    from numpylm.models.bert import bert_forward, masked_head_forward, pooler_forward

    objective = load_task(settings("bert", corpus), None)
    theta, p = jittered(objective.init(3)[1], 0, size=0.3, dtype=np.float32)
    masked, pairs, losses = [], [], []
    for batch in objective.held_out("valid"):
        for i, n in enumerate(batch["mask"].sum(axis=1)):
            ids, segments = batch["ids"][i : i + 1, :n], batch["segments"][i : i + 1, :n]
            h, _ = bert_forward(p, ids, segments, config=objective.model)
            target = batch["targets"][i, :n]
            logits = masked_head_forward(p, h)[0][0].astype(np.float64)
            logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            masked += (logits.argmax(axis=-1) == target)[target != IGNORE].tolist()
            losses += [-logits[t, w] for t, w in enumerate(target) if w != IGNORE]
            head = p.next_sentence_head
            answer = pooler_forward(p.pooler, h)[0] @ head.weight + head.bias
            pairs.append(int(answer.argmax()) == batch["labels"][i])
    with DataParallel.of(objective, theta, p) as parallel:
        found = objective.measure(parallel, "valid")
    assert found["masked_accuracy"] == pytest.approx(np.mean(masked))
    assert found["pair_accuracy"] == pytest.approx(np.mean(pairs))
    assert len(pairs) == 200
    objective.functions = Masked.functions
    batch = objective.held_out("valid")
    total = sum(np.count_nonzero(b["targets"] != IGNORE) for b in batch)
    kept = [{n: a for n, a in b.items() if n != "labels"} for b in batch]
    with DataParallel(
        objective.functions, theta, p, len, n_shards=2, config=objective.model
    ) as parallel:
        assert sum(parallel.losses(kept, total)) == pytest.approx(np.mean(losses), rel=1e-4)


def test_what_config_json_says(tmp_path, corpus):
    run = Trainer.start(tmp_path / "run", settings("bert", corpus)).run
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert content["corpus"]["train_documents"] == 24
    assert content["corpus"]["valid_documents"] == 9
    assert content["corpus"]["train_tokens"] == 5 * (24 // 4) * (2 + 3 + 4 + 5)
    assert set(run.baselines) == {"unigram", "neighbours"}
    assert all(0 <= share <= 1 for share in run.baselines.values())


def refused(config):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_task(config, None)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_corpus_that_cannot_be_used_is_one_clear_line(tmp_path, corpus, name):
    (corpus / "valid.txt").write_text("a b.\n\nc d.\n")
    assert "validation text has 6 tokens" in refused(settings(name, corpus))
    (corpus / "train.txt").write_text("a text that knows no blank lines. " * 50)
    assert "no document boundaries" in refused(settings(name, corpus))


@pytest.mark.parametrize("name", ["next-sentence", "bert"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_documents_of_one_sentence_make_no_pairs(corpus, name, part):
    text = "\n\n".join(f"document {i} has a sentence of its own ." for i in range(20))
    (corpus / f"{part}.txt").write_text(text)
    assert "two sentences" in refused(settings(name, corpus))
    assert load_task(settings("masked", corpus), None).held_out("valid")


@pytest.mark.parametrize("name", ["next-sentence", "bert"])
def test_a_test_text_of_one_document_has_no_pairs(corpus, name):
    (corpus / "test.txt").write_text(documents(1, "test") * 1 + "and more of it . " * 20)
    task = load_task(settings(name, corpus), None)
    assert task.held_out("test") == []
    assert not task.has("test")


@pytest.mark.parametrize(("name", "least"), [("masked", 3), ("next-sentence", 5), ("bert", 5)])
def test_the_shortest_context(tmp_path, corpus, name, least):
    objective = load_task(settings(name, corpus, context=least), None)
    assert objective.batch(0)["ids"].shape[1] == least
    with pytest.raises(ValueError, match=f"needs at least {least}"):
        settings(name, corpus, context=least - 1)
