"""§5.4 Generation: the filters do what they say, and a seed gives one text."""

import numpy as np
import pytest

from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import draw, generate, next_token_distribution
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3]))


def test_temperature_one_is_softmax():
    np.testing.assert_allclose(next_token_distribution(LOGITS), [0.1, 0.4, 0.2, 0.3])


def test_temperature_sharpens_and_flattens():
    cold, warm = (next_token_distribution(LOGITS, temperature=t) for t in (0.5, 2.0))
    np.testing.assert_allclose(cold, np.square([1, 4, 2, 3]) / 30)
    np.testing.assert_allclose(warm, np.sqrt([1, 4, 2, 3]) / np.sqrt([1, 4, 2, 3]).sum())


def test_temperature_zero_is_greedy_and_takes_the_first_of_equals():
    np.testing.assert_array_equal(
        next_token_distribution(np.array([1.0, 3.0, 3.0]), temperature=0.0), [0, 1, 0]
    )


def test_the_least_temperature_is_greedy_too():
    """Scores divided by it overflow to −∞, which is as good; no warning."""
    np.testing.assert_array_equal(next_token_distribution(LOGITS, temperature=5e-324), [0, 1, 0, 0])


def test_top_k_keeps_exactly_k():
    np.testing.assert_allclose(next_token_distribution(LOGITS, top_k=2), [0, 4 / 7, 0, 3 / 7])
    equal = next_token_distribution(np.zeros(5), top_k=3)
    np.testing.assert_allclose(equal, [1 / 3, 1 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(next_token_distribution(LOGITS, top_k=99), [0.1, 0.4, 0.2, 0.3])


def test_top_p_keeps_the_fewest_that_reach_p():
    kept = {1e-9: [0, 1, 0, 0], 0.65: [0, 4 / 7, 0, 3 / 7], 0.75: [0, 4 / 9, 2 / 9, 3 / 9]}
    for top_p, expected in kept.items():
        np.testing.assert_allclose(next_token_distribution(LOGITS, top_p=top_p), expected)


@pytest.mark.parametrize(
    ("p", "top_p", "kept"),
    [
        ([0.6, 0.3, 0.1], 0.9, 2),  # the sum is 0.8999999999999999
        ([0.1] * 10, 0.3, 3),
        ([0.1] * 10, 0.7, 7),
        ([0.7, 0.2, 0.1], 0.9, 2),
        ([0.5, 0.5], 0.5, 1),
        ([0.5, 0.5], 0.5 + 1e-9, 2),
    ],
)
def test_top_p_is_reached_up_to_rounding(p, top_p, kept):
    found = next_token_distribution(np.log(p), top_p=top_p)
    assert np.count_nonzero(found) == kept


def test_top_p_acts_on_what_top_k_leaves():
    p = next_token_distribution(LOGITS, top_k=3, top_p=0.5)  # 4/9 alone does not reach a half
    np.testing.assert_allclose(p, [0, 4 / 7, 0, 3 / 7])
    p = next_token_distribution(LOGITS, top_k=2, top_p=0.5)  # 4/7 does
    np.testing.assert_allclose(p, [0, 1, 0, 0])


def test_a_draw_is_that_of_the_generator_itself():
    for seed in range(50):
        p = np.random.default_rng(seed).dirichlet(np.full(seed + 1, 0.3))
        a, b = (np.random.default_rng([seed, 1]) for _ in range(2))
        assert [draw(p, a) for _ in range(20)] == [b.choice(len(p), p=p) for _ in range(20)]


def test_greedy_needs_no_more_memory_than_the_vocabulary():
    p = next_token_distribution(np.eye(1, 300_000, 7)[0], temperature=0.0)  # 300,000² would fail
    assert p.argmax() == p.sum() * 7 == 7


@pytest.fixture
def model():
    config = GPTConfig(vocab_size=9, context=5, n_layers=1, n_heads=2, d_model=8, d_ff=16)
    theta, p = gpt_init(0, config)
    theta *= 5  # away from the nearly uniform distribution of the initialisation
    return p, config


def test_one_seed_one_text(model):
    p, config = model

    def text(seed):
        rng = np.random.default_rng(seed)
        return list(generate(CachedGPT(p, config), np.array([1, 2]), 20, rng=rng))

    assert len(text(0)) == 20
    assert text(0) == text(0)
    assert text(0) != text(1)


def test_greedy_follows_the_largest_logit_over_a_sliding_window(model):
    p, config = model
    rng = np.random.default_rng(0)
    ids = [3, 1]
    new = list(generate(CachedGPT(p, config), np.array(ids), 9, rng=rng, temperature=0.0))
    for token in new:
        logits, _ = gpt_forward(p, np.array([ids[-config.context :]]), config=config)
        assert token == logits[0, -1].argmax()
        ids.append(token)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        next_token_distribution(LOGITS, **settings)


def test_an_empty_prompt_is_refused(model):
    p, config = model
    with pytest.raises(ValueError, match="prompt of 0"):
        list(
            generate(CachedGPT(p, config), np.array([], np.int64), 3, rng=np.random.default_rng(0))
        )
