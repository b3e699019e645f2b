"""Llama: what it reads token by token, what padding and later tokens cannot change, its limits."""

import numpy as np
import pytest

import numpylm.fast  # noqa: F401  # adds the twins to the tables
from numpylm.generation.kv_cache import CachedGPT
from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.rotary import Llama3Scaling
from numpylm.models.llama import LlamaConfig, llama_forward, llama_init
from numpylm.parameters import leaves

V, CONTEXT = 13, 12
CHOICES = [
    {},
    {"tied": False, "bias": True, "pairing": "interleaved", "base": 500.0},
    {"qk_norm": True, "window": 4, "eps": 1e-3},
    {"scaling": Llama3Scaling(factor=4.0, context=6), "implementation": "fast"},
]


@pytest.fixture(params=CHOICES, ids=lambda choices: ", ".join(choices) or "plain")
def model(request):
    config = LlamaConfig(
        vocab_size=V, context=CONTEXT, n_layers=2, n_heads=4, n_kv_heads=2, d_model=8, d_head=6,
        d_ff=10, **request.param,
    )  # fmt: skip
    return jittered(llama_init(0, config)[1], 1, size=0.2, dtype=np.float64)[1], config


def ids(*shape):
    return np.random.default_rng(2).integers(0, V, shape)


def test_a_prompt_and_then_token_by_token_gives_the_logits_of_one_forward(model):
    p, config = model
    text = ids(3, CONTEXT)
    expected, _ = llama_forward(p, text, config=config)
    past = None
    for start, stop in ((0, 5), (5, 6), (6, 9), (9, 12)):
        logits, cache = llama_forward(p, text[:, start:stop], config=config, past=past)
        np.testing.assert_allclose(logits, expected[:, start:stop], atol=1e-12)
        past = cache.seen


@pytest.mark.parametrize("window", [None, 70])
def test_a_long_text_in_tiles_goes_on_from_what_was_seen(window):
    """With many keys generation takes the twin in tiles: more keys than queries, and a window."""
    sizes = {"vocab_size": V, "context": 200, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2,
             "d_model": 8, "d_head": 6, "d_ff": 10, "window": window}  # fmt: skip
    plain, fast = LlamaConfig(**sizes), LlamaConfig(**sizes, implementation="fast")
    p = jittered(llama_init(0, plain)[1], 1, size=0.2, dtype=np.float64)[1]
    text, past = ids(2, 180), None
    expected, _ = llama_forward(p, text, config=plain)
    for start, stop in ((0, 100), (100, 101), (101, 150), (150, 151), (151, 180)):
        logits, cache = llama_forward(p, text[:, start:stop], config=fast, past=past)
        np.testing.assert_allclose(logits, expected[:, start:stop], atol=1e-12)
        past = cache.seen


def test_it_writes_what_its_full_forward_says(model):
    p, config = model
    read, text = CachedGPT(p, config), ids(3).tolist()
    for _ in range(20):  # beyond the context, too
        expected, _ = llama_forward(p, np.array([text[-CONTEXT:]]), config=config)
        np.testing.assert_allclose(read(text), expected[0, -1], atol=1e-12)
        text.append(int(expected[0, -1].argmax()))


def test_no_position_sees_a_later_one(model):
    p, config = model
    text = ids(1, CONTEXT)
    other = text.copy()
    other[0, 7:] = (other[0, 7:] + 1) % V
    same, changed = (llama_forward(p, x, config=config)[0] for x in (text, other))
    np.testing.assert_array_equal(same[0, :7], changed[0, :7])
    assert not np.allclose(same[0, 7:], changed[0, 7:])


def test_attention_weights_are_of_every_layer_and_head(model):
    p, config = model
    _, cache = llama_forward(p, ids(1, 6), config=config)
    weights = np.stack(cache.attention_weights)
    assert weights.shape == (2, 1, 4, 6, 6)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0)


def test_float32_stays_float32(model):
    _, config = model
    p = llama_init(0, config)[1]
    assert {a.dtype for _, a in leaves(p)} == {np.dtype(np.float32)}
    assert llama_forward(p, ids(1, 4), config=config)[0].dtype == np.float32


def test_what_cannot_work_is_refused(model):
    p, config = model
    with pytest.raises(ValueError, match=r"ids \(1, 13\) must be \(batch, length ≤ context 12\)"):
        llama_forward(p, ids(1, 13), config=config)
    sizes = {"vocab_size": 3, "context": 4, "n_layers": 1, "d_model": 4, "d_head": 2, "d_ff": 4}
    with pytest.raises(ValueError, match="n_heads 4 is no multiple of n_kv_heads 3"):
        LlamaConfig(n_heads=4, n_kv_heads=3, **sizes)
    with pytest.raises(ValueError, match="window is 0"):
        LlamaConfig(n_heads=4, n_kv_heads=2, window=0, **sizes)
