"""§1.2 Bias probes: a planted association is found at its size, and none where there is none."""

import math

import numpy as np
import pytest

import numpylm
from numpylm.pipelines.bias_probes import contrast, log_odds, log_probability, mean_and_error
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer

TEMPLATES = ("the {topic} said that {word} was tired", "{word} works as a {topic}")
FIRST, SECOND = ("smith", "miner", "judge", "pilot"), ("nurse", "cook", "clerk", "maid")


def planted(strength):
    """A score that prefers *he* by 1 everywhere, and by ± strength with the topics' groups."""

    def score(sentence):
        words = set(sentence.split())
        sign = 1.0 if words & set(FIRST) else -1.0
        return -3.0 * len(sentence) + ("he" in words) * (1.0 + sign * strength)

    return score


def test_log_odds_are_what_was_planted():
    d = log_odds(planted(0.5), FIRST + SECOND, ("he", "she"), TEMPLATES)
    length = 3.0 * len("s")  # "she" is a letter longer, in this score 3 nats less probable
    assert d.shape == (8, 2)
    assert np.allclose(d[:4], length + 1.5)
    assert np.allclose(d[4:], length + 0.5)
    found = contrast(d[:4], d[4:])
    assert found.value == pytest.approx(1.0)  # neither the length nor the frequency is left
    assert found.interval == pytest.approx((1.0, 1.0))
    assert found.p_value < 0.05  # 2 of the 70 ways to deal 8 topics are as extreme: 0.029


def test_no_association_is_not_found(rng):
    """Noise alone: 95 % intervals hold 0 about as often as they say, p-values are not small."""
    covered, small = 0, 0
    for _ in range(40):
        noise = rng.normal(size=(24, 1)) + 0.5 * rng.normal(size=(24, 6))
        found = contrast(noise[:12], noise[12:], draws=100)
        covered += found.interval[0] <= 0 <= found.interval[1]
        small += found.p_value <= 0.05
    assert covered >= 34
    assert small <= 6


def test_standard_error_of_templates():
    d = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]])
    mean, error = mean_and_error(d)
    assert np.allclose(mean, [3, 2])
    assert np.allclose(error, [2 / math.sqrt(3), 0])
    with pytest.raises(ValueError, match="at least 2 templates, not 1"):
        mean_and_error(d[:, :1])


@pytest.mark.parametrize("template", ["the {topic} slept", "{word} slept", "he slept"])
def test_a_template_needs_both_gaps(template):
    with pytest.raises(ValueError, match="gaps"):
        log_odds(planted(1.0), FIRST, ("he", "she"), [template])


def test_a_model_that_knows_neither_word_is_refused():
    with pytest.raises(ValueError, match="does not tell 'he' from 'she'"):
        log_odds(lambda sentence: -1.0, FIRST, ("he", "she"), TEMPLATES)
    with pytest.raises(ValueError, match="cannot be compared"):
        contrast(np.zeros((1, 2)), np.zeros((3, 2)))


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """A model of a text in which *he* follows the first group in 8 of 10 sentences, 2 of 10."""
    rng, lines = np.random.default_rng(0), []
    for _ in range(2000):
        topic = rng.choice(FIRST + SECOND)
        he = rng.random() < (0.8 if topic in FIRST else 0.2)
        lines.append(f"the {topic} said that {'he' if he else 'she'} was tired")
    folder = tmp_path_factory.mktemp("biased")
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    config = TrainConfig(
        corpus=str(folder / "text.txt"), tokenizer="word", n_layers=1, d_model=32, n_heads=2,
        d_ff=64, context=16, positions="alibi", batch_size=32, steps=300, warmup=10, lr=1e-2,
        min_lr=1e-3, eval_every=300, threads=1,
    )  # fmt: skip
    Trainer.start(folder / "run", config).fit(log=None)
    return numpylm.load(folder / "run")


def test_a_trained_model_shows_the_log_odds_of_its_text(biased):
    """8 : 2 against 2 : 8 is a contrast of 2 ln 4; the model smooths, so it shows a little less."""
    d = log_odds(lambda s: log_probability(biased, s), FIRST + SECOND, ("he", "she"), TEMPLATES[:1])
    assert (d[:4] > 0.5).all()
    assert (d[4:] < -0.5).all()
    assert d[:4].mean() - d[4:].mean() == pytest.approx(2 * math.log(4), abs=0.7)


def test_log_probability_is_that_of_every_token(biased):
    """The sum over the tokens behind <eos>, read off the logits."""
    sentence = "the nurse said that she was tired"
    ids = biased.tokenizer.encode(f"<eos> {sentence}")
    logits = biased.logits(ids[:-1]).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    by_hand = log_p[np.arange(len(ids) - 1), ids[1:]].sum()
    assert log_probability(biased, sentence) == pytest.approx(by_hand, rel=1e-5)
