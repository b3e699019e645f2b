from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.gpt import GPTConfig, TransformerEncoder, gpt_forward, gpt_init
from numpylm.parameters import leaves, view
from numpylm.training.presets import preset

SMALL = {"vocab_size": 11, "context": 7, "n_layers": 2, "n_heads": 2, "d_model": 8, "d_ff": 10}
norms = pytest.mark.parametrize("norm", ["pre", "post"])


def model(**choices):
    config = GPTConfig(**{**SMALL, **choices})
    _, p = jittered(gpt_init(0, config)[1], 1)
    return config, p


@pytest.fixture
def ids(rng):
    return rng.integers(0, 11, (3, 7))


@norms
def test_padding_on_the_left_is_hidden_by_the_mask(ids, norm):
    config, p = model(norm=norm, positions="none")
    mask = np.broadcast_to(np.arange(7) >= 3, ids.shape)
    padded, _ = gpt_forward(p, ids, config=config, mask=mask)
    short, _ = gpt_forward(p, ids[:, 3:], config=config)
    np.testing.assert_allclose(padded[:, 3:], short, rtol=1e-12, atol=1e-12)


def test_positions_tell_the_order_of_equal_tokens():
    same = np.full((1, 7), 3)
    config, p = model(positions="none")
    blind, _ = gpt_forward(p, same, config=config)
    np.testing.assert_allclose(blind[0], np.tile(blind[0, 0], (7, 1)), rtol=1e-12)
    for positions in ("learned", "sinusoidal"):
        config, p = model(positions=positions)
        logits, _ = gpt_forward(p, same, config=config)
        assert len(np.unique(np.round(logits[0], 9), axis=0)) == 7


def test_dropout_needs_a_generator(ids):
    config, p = model(dropout=0.5)
    plain, _ = gpt_forward(p, ids, config=model()[0])
    np.testing.assert_array_equal(gpt_forward(p, ids, config=config)[0], plain)
    a, b = (gpt_forward(p, ids, config=config, rng=np.random.default_rng(1))[0] for _ in "ab")
    np.testing.assert_array_equal(a, b)
    assert (a != plain).any()


@pytest.mark.parametrize("tied", [True, False])
def test_the_number_of_parameters(tied):
    config = GPTConfig(**SMALL, tied=tied)
    theta, _ = gpt_init(0, config)
    v, context, n, d, f = 11, 7, 2, 8, 10
    layer = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    output = 0 if tied else d * v + v
    assert theta.size == v * d + context * d + n * layer + 2 * d + output
    assert theta.dtype == np.float32


def test_a_seed_gives_the_same_model_each_time():
    config = GPTConfig(**SMALL)
    np.testing.assert_array_equal(gpt_init(3, config)[0], gpt_init(3, config)[0])
    assert (gpt_init(3, config)[0] != gpt_init(4, config)[0]).any()


def test_parts_are_there_only_if_asked_for():
    _, p = gpt_init(0, GPTConfig(**SMALL, positions="sinusoidal", tied=False, bias=False))
    assert p.embedding.positions is None
    assert p.output.bias is None
    assert not [name for name, _ in leaves(p) if name.endswith(("bias", "beta"))]
    _, p = gpt_init(0, GPTConfig(**SMALL))
    assert p.output is None
    assert p.embedding.positions.weight.shape == (7, 8)


def test_ids_that_do_not_fit_are_rejected(ids):
    config, p = model()
    with pytest.raises(ValueError, match=r"ids \(3, 8\) must be \(batch, length ≤ context 7\)"):
        gpt_forward(p, np.zeros((3, 8), int), config=config)
    with pytest.raises(ValueError, match=r"ids \(7,\) must be"):
        gpt_forward(p, ids[0], config=config)
    with pytest.raises(ValueError, match="token ids span 0 to 11, the vocabulary has 11 entries"):
        gpt_forward(p, np.array([[0, 11]]), config=config)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; it must be a whole number of at least 1"),
        ({"context": -1}, "context is -1; it must be"),
        ({"n_layers": 2.0}, r"n_layers is 2\.0; it must be"),
        ({"n_heads": True}, "n_heads is True; it must be"),
        ({"d_model": "8"}, "d_model is '8'; it must be"),
        ({"d_ff": 0}, "d_ff is 0; it must be"),
        ({"d_model": 510, "n_heads": 8}, "d_model 510 is not divisible by n_heads 8"),
        ({"dropout": 1.0}, r"dropout 1\.0 is not in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout -0\.1 is not in \[0, 1\)"),
        ({"norm": "middle"}, "norm is 'middle'; it must be one of pre, post"),
        ({"activation": "tanh"}, "activation is 'tanh'; it must be one of gelu, relu"),
        (
            {"positions": "compass"},
            "positions is 'compass'; it must be one of learned, sinusoidal",
        ),
    ],
)
def test_what_cannot_work_is_rejected(choices, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{**SMALL, **choices})


def test_a_config_does_not_change():
    with pytest.raises(FrozenInstanceError):
        GPTConfig(**SMALL).d_model = 16


def test_the_textbooks_class_is_the_textbooks_preset(ids):
    """Its five arguments in their order; what the textbook does not give is the preset's."""
    c = preset("textbook")
    model = TransformerEncoder(11, c.d_model, c.n_heads, c.d_ff, c.dropout)
    assert replace(model.config, implementation="plain") == replace(
        c.model_config(11), implementation="plain"
    )
    logits, _ = model.forward(ids)
    expected, _ = gpt_forward(gpt_init(1, model.config)[1], ids, config=model.config)
    np.testing.assert_array_equal(logits, expected)
    assert (model.forward(ids, np.random.default_rng(0))[0] != logits).any(), "dropout"


def test_the_textbooks_class_does_not_see_the_word_that_it_predicts(ids):
    model = TransformerEncoder(11, 8, 2, 10, 0.2)
    changed = ids.copy()
    changed[:, 4:] = (ids[:, 4:] + 1) % 11
    before, after = model.forward(ids)[0], model.forward(changed)[0]
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any()


def test_the_textbooks_class_learns_by_its_backward(ids):
    """A step against the gradient of one target's logit lowers it by about η ‖g‖²."""
    model = TransformerEncoder(11, 8, 2, 10, 0.0)
    logits, cache = model.forward(ids)
    dlogits = np.zeros_like(logits)
    dlogits[1, 5, 3] = 1.0
    gradient = np.zeros_like(model.theta)
    model.backward(view(model.p, gradient), dlogits, cache)
    model.theta -= 1e-3 * gradient
    fall = (logits - model.forward(ids)[0])[1, 5, 3]
    assert fall == pytest.approx(1e-3 * float(gradient @ gradient), rel=0.05)


def test_the_textbooks_class_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="d_model 10 is not divisible by n_heads 4"):
        TransformerEncoder(11, 10, 4, 10, 0.2)
