"""§5.4 ``numpylm.load``: the trained model as a reader uses it."""

import dataclasses

import numpy as np
import pytest

import numpylm
from numpylm.models.gpt import gpt_forward
from numpylm.training.config import TrainConfig
from numpylm.training.trainer import Trainer

TEXT = "a rose is a rose is a rose\n" * 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for each tokenizer."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    config = TrainConfig(
        corpus=str(folder / "text.txt"), n_layers=1, n_heads=2, d_model=16, d_ff=32, context=8,
        batch_size=8, steps=120, warmup=5, eval_every=120, lr=1e-2,
    )  # fmt: skip
    for kind in ("char", "word", "byte"):
        Trainer.start(folder / kind, dataclasses.replace(config, tokenizer=kind)).fit(log=None)
    return folder


def test_it_has_learned_the_text(runs):
    lm = numpylm.load(runs / "char")
    assert lm.step == 120
    assert lm.generate("a rose", tokens=14, temperature=0.0) == "a rose is a rose is "


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_generate_is_seeded_and_keeps_the_prompt(runs, kind):
    lm = numpylm.load(runs / kind)
    text = lm.generate("a rose", tokens=12, seed=3)
    assert text.startswith("a rose")
    assert lm.generate("a rose", tokens=12, seed=3) == text
    pieces = list(lm.stream("a rose", tokens=12, seed=3, temperature=0.8))
    assert "a rose" + "".join(pieces) == text
    assert isinstance(lm.generate(tokens=5), str)


def test_loss_is_the_mean_over_every_token_but_the_first(runs):
    lm = numpylm.load(runs / "char")
    text = TEXT[:21]  # two windows of 8 and a rest of 4
    ids = lm.tokenizer.encode(text)
    expected = []
    for start in range(0, 20, 8):
        window = ids[start : start + 8]
        window = window[: 20 - start]
        logits, _ = gpt_forward(lm.p, window[None], config=lm.config)
        log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
        expected += [-log_p[t, ids[start + t + 1]] for t in range(len(window))]
    assert len(expected) == 20
    assert lm.loss(text) == pytest.approx(np.mean(expected), rel=1e-5)


def test_logits_have_a_row_for_each_id(runs):
    lm = numpylm.load(runs / "char")
    ids = lm.tokenizer.encode("a rose")
    logits = lm.logits(ids)
    assert logits.shape == (6, lm.config.vocab_size)
    assert lm.tokenizer.decode([logits[-1].argmax()]) == " "


def test_unknown_characters_are_named_unknown_words_are_unk(runs):
    with pytest.raises(ValueError, match="does not know 'X'"):
        numpylm.load(runs / "char").generate("X")
    assert numpylm.load(runs / "word").generate("X", tokens=3).startswith("X")


def test_a_loss_needs_two_tokens(runs):
    with pytest.raises(ValueError, match="at least 2 tokens, the text has 1"):
        numpylm.load(runs / "char").loss("a")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        numpylm.load(tmp_path)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = numpylm.nothing
