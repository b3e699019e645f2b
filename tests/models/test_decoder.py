import math

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.feed_forward import feed_forward_forward
from numpylm.layers.layer_norm import layer_norm_forward
from numpylm.layers.multi_head import multi_head_forward
from numpylm.models.config import StackConfig
from numpylm.models.decoder import decoder_forward, decoder_init
from numpylm.parameters import leaves


def stack(**choices):
    config = StackConfig(**{"n_layers": 3, "n_heads": 2, "d_model": 8, "d_ff": 10, **choices})
    rng = np.random.default_rng(0)
    _, p = jittered(decoder_init(rng, config), rng)
    return config, p


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 5, 8))


def attend(p, h):
    return multi_head_forward(p.self_attention, h, n_heads=2, causal=True)[0]


def feed(p, h):
    return feed_forward_forward(p.feed_forward, h, activation="gelu")[0]


def norm(p, h):
    return layer_norm_forward(p, h)[0]


def test_a_pre_norm_stack_by_hand(x):
    config, p = stack(norm="pre")
    y, _ = decoder_forward(p, x, config=config)
    for layer in p.layers:
        x = x + attend(layer, norm(layer.self_attention_norm, x))
        x = x + feed(layer, norm(layer.feed_forward_norm, x))
    np.testing.assert_allclose(y, norm(p.norm, x), rtol=1e-12)


def test_a_post_norm_stack_by_hand(x):
    config, p = stack(norm="post")
    assert p.norm is None
    y, _ = decoder_forward(p, x, config=config)
    for layer in p.layers:
        x = norm(layer.self_attention_norm, x + attend(layer, x))
        x = norm(layer.feed_forward_norm, x + feed(layer, x))
    np.testing.assert_allclose(y, x, rtol=1e-12)


def test_padding_is_seen_by_nobody(x):
    config, p = stack()
    mask = np.arange(5) >= np.array([[2], [0]])  # the first sequence is padded on the left
    y, _ = decoder_forward(p, x, config=config, mask=mask)
    short, _ = decoder_forward(p, x[:1, 2:], config=config)
    np.testing.assert_allclose(y[:1, 2:], short, rtol=1e-12)


def test_dropout_needs_a_generator(x):
    config, p = stack(dropout=0.5)
    y, _ = decoder_forward(p, x, config=config)
    same, _ = decoder_forward(p, x, config=stack()[0])
    np.testing.assert_array_equal(y, same)
    noisy = [
        decoder_forward(p, x, config=config, rng=np.random.default_rng(seed))[0]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != noisy[2]).any()
    assert (noisy[0] != y).any()


@pytest.mark.parametrize("init", ["fan-in", "gpt2"])
def test_matrices_that_write_to_the_residual_stream_start_smaller(rng, init):
    config = StackConfig(n_layers=8, d_model=64, d_ff=256, init=init)
    for name, a in leaves(decoder_init(rng, config)):
        if a.ndim == 2:
            std = 0.02 if init == "gpt2" else 1 / math.sqrt(len(a))
            std *= 1 / math.sqrt(16) if name.endswith("output.weight") else 1
            assert a.std() == pytest.approx(std, rel=0.05), name
        else:
            assert (a == name.endswith("gamma")).all(), name


def test_without_bias_there_are_only_matrices_and_gammas(rng):
    names = [name for name, _ in leaves(decoder_init(rng, StackConfig(bias=False)))]
    assert all(name.endswith(("weight", "gamma")) for name in names)
