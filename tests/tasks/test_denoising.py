"""§2.1 A run that restores text: what a batch holds, that it repeats, and what cannot work."""

import numpy as np
import pytest

from numpylm.data.special import SpecialTokens
from numpylm.layers.cross_entropy import IGNORE
from numpylm.tasks.loading import load_task
from numpylm.training.trainer import Trainer
from tests.tiny import changed, fitted, settings

OBJECTIVES = ("spans", "deletion")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    rng = np.random.default_rng(0)
    words = "the quick brown fox jumps over a lazy dog again".split()
    path.write_text(" ".join(words[i] for i in rng.integers(0, 10, 700)))
    return path


def unpadded(batch, special):
    """(source, target) of each row, after checks of its layout."""
    for source, mask, target_in, target_out in zip(
        batch["source"], batch["source_mask"], batch["target_in"], batch["target_out"], strict=True
    ):
        n, m = int(mask.sum()), int((target_out != IGNORE).sum())
        assert mask[:n].all()
        assert source[n - 1] == target_out[m - 1] == special.end
        assert (source[n:] == special.pad).all()
        assert (target_out[m:] == IGNORE).all()
        assert (target_in[m:] == special.pad).all()
        assert target_in[0] == special.start
        np.testing.assert_array_equal(target_in[1:m], target_out[: m - 1])
        yield source[: n - 1].tolist(), target_out[: m - 1].tolist()


def filled(source, target, special):
    """The text that a source with sentinels and its target stand for."""
    spans, sentinels = {}, set(special.sentinels.tolist())
    for token in target:
        if token in sentinels:
            spans[token] = inside = []
        else:
            inside.append(token)
    order = sorted(spans)
    assert spans.pop(order[-1]) == []  # the last one ends the target
    found = [t for t in source if t in sentinels]
    assert found == order[:-1] == special.sentinels[: len(found)].tolist()
    return [x for t in source for x in spans.get(t, [t])]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_source_and_target_make_a_window_of_the_text(corpus, name, tokenizer):
    config = settings(name, corpus, tokenizer=tokenizer, context=24)
    objective = load_task(config, None)
    special = SpecialTokens(objective.vocabulary.tokenizer.vocab_size)
    assert objective.model.vocab_size == special.vocab_size
    text = objective.corpus.train.tolist()
    windows = {tuple(text[i : i + 23]) for i in range(len(text) - 22)}
    hidden = total = 0
    for step in range(25):
        batch = objective.batch(step)
        assert max(batch["source"].shape[1], batch["target_in"].shape[1]) <= 24
        for source, target in unpadded(batch, special):
            if name == "spans":
                whole = filled(source, target, special)
            else:
                whole, rest = target, iter(target)
                assert all(token in rest for token in source)  # a subsequence
            assert tuple(whole) in windows
            total += len(whole)
            hidden += len(whole) - sum(t < special.size for t in source)
    assert hidden / total == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_is_a_function_of_seed_and_step(corpus, name):
    config = settings(name, corpus)
    first, again = load_task(config, None), load_task(config, None)
    for step in (0, 5):
        for key, array in first.batch(step).items():
            np.testing.assert_array_equal(array, again.batch(step)[key])
    assert first.batch(0)["source"].tolist() != first.batch(1)["source"].tolist()
    other = load_task(changed(config, seed=2), None)
    assert first.batch(0)["source"].tolist() != other.batch(0)["source"].tolist()
    for a, b in zip(first.held_out("valid"), first.held_out("valid"), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    assert first.held_out("test") == []
    assert first.has("valid")
    assert not first.has("test")


def test_an_epoch_is_corrupted_anew(corpus):
    objective = load_task(settings("spans", corpus, batch_size=1), None)
    objective.windows = type(objective.windows)(objective.corpus.train[:24], 1, 23, 1)
    assert len({tuple(objective.batch(step)["source"][0].tolist()) for step in range(8)}) > 3


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_a_run_resumes_bit_for_bit(tmp_path, corpus, name, tokenizer):
    config = settings(name, corpus, tokenizer=tokenizer, dropout=0.1, label_smoothing=0.1)
    whole = fitted(tmp_path / "whole", config)
    part = Trainer.start(tmp_path / "part", config)
    with part.parallel() as parallel:
        next(part.steps(parallel))
    part.save()
    resumed = Trainer.resume(tmp_path / "part")
    resumed.fit(log=None)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    assert whole.evaluate("train")["loss"] > 0
    with pytest.raises(ValueError, match="text.txt has no test split"):
        whole.evaluate("test")
    corpus.write_text(corpus.read_text() + " more")
    with pytest.raises(ValueError, match="has changed since"):
        Trainer.resume(tmp_path / "part")


@pytest.mark.parametrize(("name", "least"), [("spans", 4), ("deletion", 3)])
def test_the_shortest_context_trains(tmp_path, corpus, name, least):
    fitted(tmp_path / "run", settings(name, corpus, context=least))
    with pytest.raises(ValueError, match=f"needs at least {least}"):
        settings(name, corpus, context=least - 1)


def test_what_does_not_fit_the_context_is_refused_before_training(tmp_path, corpus):
    """Of 23 tokens 21 leave in 2 spans: 21 + 3 sentinels and the end are 25."""
    config = settings("spans", corpus, mask_rate=0.9)
    with pytest.raises(ValueError, match="mask_rate 0.9 .* 25 tokens.* context of 24"):
        Trainer.start(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_too_many_spans_for_the_sentinels_is_one_line(tmp_path, corpus):
    corpus.write_text(corpus.read_text() * 3)
    config = settings("spans", corpus, tokenizer="char", context=240, mask_rate=0.5)
    with pytest.raises(ValueError, match="40 spans need 41 sentinels"):
        Trainer.start(tmp_path / "run", config)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_short_text_is_one_clear_line(corpus, name):
    corpus.write_text("one two three")
    with pytest.raises(
        ValueError, match="training text has 3 tokens, a context of 24 needs 25"
    ) as e:
        load_task(settings(name, corpus), None)
    assert "\n" not in str(e.value)
