"""The check is only worth something if it fails: each wrong backward here is one that was found
in published code or that is easily written, and each must be caught by name."""

import numpy as np
import pytest

from numpylm.gradcheck import WrongGradient, catalogue, check_gradients, gradient_errors
from numpylm.layers import input_embedding, linear
from numpylm.layers.attention import attention_backward
from numpylm.layers.cross_entropy import cross_entropy_backward
from numpylm.layers.embedding import embedding_backward, unembedding_backward
from numpylm.layers.layer_norm import layer_norm_backward
from numpylm.layers.linear import Linear, linear_backward, linear_forward
from numpylm.layers.residual import leave_backward
from numpylm.layers.softmax import softmax_backward, softmax_forward
from numpylm.models import decoder, gpt
from numpylm.parameters import leaves, pack, view

PAIRS = {pair.name: pair for pair in catalogue.PAIRS}
TIED = "causal_lm pre-norm, learned, tied"


def check(name, backward=None):
    pair = PAIRS[name]
    p, inputs, settings = pair.example(np.random.default_rng(0))
    return check_gradients(pair.forward, backward or pair.backward, p, *inputs, **settings)


def gamma_outside_the_means(p, dp, dy, cache):
    layer_norm_backward(p, dp, dy, cache)
    xhat, rstd = cache
    centred = dy - dy.mean(-1, keepdims=True) - xhat * (dy * xhat).mean(-1, keepdims=True)
    return p.gamma * rstd * centred


def beta_forgotten(p, dp, dy, cache):
    kept = dp.beta.copy()
    dx = layer_norm_backward(p, dp, dy, cache)
    dp.beta[...] = kept
    return dx


def assigns_instead_of_adding(p, dp, dy, cache):
    dp.weight[...] = 0.0
    return linear_backward(p, dp, dy, cache)


def lost_repeated_ids(p, dp, dy, cache):
    dp.weight[cache] += dy


def absent_words_are_touched(p, dp, dy, cache):
    embedding_backward(p, dp, dy, cache)
    dp.weight[-1] += 1e-3


def off_by_one_position(p, dp, dy, cache):
    dp.weight[1 : dy.shape[1] + 1] += dy.sum(axis=0)
    return dy


def divided_by_the_batch(dy, cache):
    return softmax_backward(dy, cache) / len(dy)


def diagonal_of_the_jacobian(dy, cache):
    return dy * cache * (1 - cache)


def all_zero(dy, cache):
    return np.zeros_like(dy)


def not_a_number(dy, cache):
    dx = softmax_backward(dy, cache)
    dx[0, 0, 0] = np.nan
    return dx


def no_mean_over_targets(dloss, cache):
    return cross_entropy_backward(dloss, cache._replace(n=1))


def ignored_targets_count(dloss, cache):
    return cross_entropy_backward(dloss, cache._replace(n=cache.chosen.size))


def transposed_key_gradient(dy, cache):
    dq, dk, dv = attention_backward(dy, cache)
    return dq, dk.swapaxes(-2, -1).reshape(dk.shape), dv


def value_gradient_from_undropped_weights(dy, cache):
    dq, dk, _ = attention_backward(dy, cache)
    return dq, dk, cache.weights.swapaxes(-2, -1) @ dy


def scale_forgotten(dy, cache):
    dq, dk, dv = attention_backward(dy, cache)
    return dq, dk * np.sqrt(cache.q.shape[-1]), dv


def one_per_mille_too_large(dy, cache):
    dq, dk, dv = attention_backward(dy, cache)
    return 1.001 * dq, dk, dv


def no_path_around_the_sublayer(p, dp, dy, cache):
    dx, df = leave_backward(p, dp, dy, cache)
    return 0.0 * dx, df


WRONG = [
    ("layer_norm", gamma_outside_the_means, "input 0"),
    ("layer_norm", beta_forgotten, "beta"),
    ("linear", assigns_instead_of_adding, "weight"),
    ("embedding", lost_repeated_ids, "weight"),
    ("embedding", absent_words_are_touched, "weight"),
    ("learned_positions", off_by_one_position, "weight"),
    ("softmax", divided_by_the_batch, "input 0"),
    ("softmax", diagonal_of_the_jacobian, "input 0"),
    ("softmax", all_zero, "input 0"),
    ("softmax", not_a_number, "input 0"),
    ("cross_entropy ignored targets", no_mean_over_targets, "input 0"),
    ("cross_entropy ignored targets", ignored_targets_count, "input 0"),
    ("attention", transposed_key_gradient, "input 1"),
    ("attention", scale_forgotten, "input 1"),
    ("attention", one_per_mille_too_large, "input 0"),
    ("attention causal + mask + dropout", value_gradient_from_undropped_weights, "input 2"),
    ("leave pre-norm + dropout", no_path_around_the_sublayer, "input 0"),
]


@pytest.mark.parametrize(
    ("name", "backward", "array"), WRONG, ids=[backward.__name__ for _, backward, _ in WRONG]
)
def test_a_wrong_backward_is_caught_and_the_array_named(name, backward, array):
    check(name)  # the right one passes
    with pytest.raises(WrongGradient, match=rf"{backward.__name__}: 1 of \d+ gradients") as caught:
        check(name, backward)
    assert f"\n  {array} " in str(caught.value)


def without_adding(backward):
    """A backward that returns dx but keeps the gradient of its parameters to itself."""

    def wrong(p, dp, dy, cache):
        scratch = np.zeros(sum(a.size for _, a in leaves(dp)))
        return backward(p, view(dp, scratch), dy, cache)

    return wrong


IN_A_MODEL = [
    (gpt, "unembedding_backward", without_adding(unembedding_backward), "embedding.tokens.weight"),
    (input_embedding, "embedding_backward", without_adding(embedding_backward),
        "embedding.tokens.weight"),
    (decoder, "leave_backward", lambda *args: (
        0.0 * leave_backward(*args)[0], leave_backward(*args)[1]), "embedding.tokens.weight"),
    (decoder, "enter_backward", lambda p, dp, dh, cache: gamma_outside_the_means(
        p, dp, dh, cache.norm), "embedding.positions.weight"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "function", "wrong", "array"), IN_A_MODEL)
def test_one_wrong_layer_shows_in_the_whole_model(monkeypatch, module, function, wrong, array):
    monkeypatch.setattr(module, function, wrong)
    with pytest.raises(WrongGradient) as caught:
        check(TIED)
    assert f"\n  {array} " in str(caught.value)


def test_a_factor_close_to_one_is_caught_in_every_array_of_a_model():
    def wrong(p, dp, dloss, cache):
        PAIRS[TIED].backward(p, dp, 1.00001 * dloss, cache)

    with pytest.raises(WrongGradient) as caught:
        check(TIED, wrong)
    right = [e for e in check(TIED) if not e.vanishes]
    assert len(right) > 30
    assert [line.split()[0] for line in str(caught.value).split("\n")[1:]] == [
        e.name for e in right
    ]


def writes_into_dy(dy, cache):
    dy *= cache
    return dy


def writes_into_its_input(p, dp, dy, cache):
    cache += 1.0
    return linear_backward(p, dp, dy, cache)


@pytest.mark.parametrize(
    ("name", "backward"), [("softmax", writes_into_dy), ("linear", writes_into_its_input)]
)
def test_dy_and_the_inputs_are_read_only(name, backward):
    with pytest.raises(ValueError, match="read-only"):
        check(name, backward)


def test_a_forward_that_overwrites_its_input_is_caught():
    with pytest.raises(ValueError, match="read-only"):
        check_gradients(lambda x: (np.exp(x, out=x), x), softmax_backward, None, np.ones(3))


def test_a_backward_that_uses_up_its_cache_is_caught():
    def wrong(dy, cache):
        dx = PAIRS["gelu"].backward(dy, cache)
        cache[1][...] *= 2.0
        return dx

    with pytest.raises(WrongGradient, match="input 0: a second backward on the same cache differs"):
        check("gelu", wrong)


def test_a_gradient_of_the_wrong_shape_is_caught():
    with pytest.raises(WrongGradient, match=r"input 0 \(3, 5, 7\): its gradient has .* \(5, 7\)"):
        check("softmax", lambda dy, cache: softmax_backward(dy, cache).sum(axis=0))


def test_a_missing_gradient_is_caught():
    with pytest.raises(WrongGradient, match="2 gradients for 3 arrays: input 0, input 1, input 2"):
        check("attention", lambda dy, cache: attention_backward(dy, cache)[:2])


def test_gradients_in_the_wrong_order_are_caught(rng):
    def swapped(dy, cache):
        dq, dk, dv = attention_backward(dy, cache)
        return dk, dq, dv

    q, k, v = rng.standard_normal((3, 2, 5, 4))  # all of one shape, so that only values differ
    with pytest.raises(WrongGradient, match=r"2 of 3 gradients are wrong[^$]*input 0[^$]*input 1"):
        check_gradients(PAIRS["attention"].forward, swapped, None, q, k, v)


def test_coordinates_find_a_single_wrong_entry():
    def wrong(p, dp, dy, cache):
        dx = linear_backward(p, dp, dy, cache)
        dp.weight[2, 1] += 1e-3
        return dx

    pair = PAIRS["linear"]
    p, inputs, _ = pair.example(np.random.default_rng(0))
    with pytest.raises(WrongGradient, match="1 of 3 gradients are wrong") as caught:
        check_gradients(pair.forward, wrong, p, *inputs, mode="coordinates")
    assert "\n  weight (8, 10)" in str(caught.value)


def test_a_linear_map_is_exact_in_both_modes(rng):
    _, p = pack(Linear(rng.standard_normal((3, 2)), rng.standard_normal(2)))
    for mode in ("directions", "coordinates"):
        errors = check_gradients(
            linear_forward, linear_backward, p, rng.standard_normal((4, 3)), mode=mode
        )
        assert [(e.name, e.shape) for e in errors] == [
            ("weight", (3, 2)), ("bias", (2,)), ("input 0", (4, 3))
        ]  # fmt: skip
        assert all(e.relative_error < 1e-9 and not e.vanishes for e in errors)


def test_an_exact_zero_is_reported_as_vanishing(rng):
    def forward(x):
        y, cache = softmax_forward(x)
        return y.sum(axis=-1), cache  # always 1

    def backward(dy, cache):
        return softmax_backward(np.broadcast_to(dy[..., None], cache.shape), cache)

    (error,) = check_gradients(forward, backward, None, rng.standard_normal((3, 5)))
    assert error.vanishes
    assert error.relative_error < 1e-6


def test_parameters_inputs_and_generators_are_left_alone(rng):
    theta, p = pack(linear.linear_init(rng, 3, 2))
    x, settings = rng.standard_normal((4, 3)).astype(np.float32), np.random.default_rng(7)
    before = theta.copy(), x.copy(), settings.bit_generator.state

    def forward(p, x, rng):
        return linear_forward(p, x * rng.random(x.shape))[0], x * np.nan

    gradient_errors(forward, lambda p, dp, dy, cache: dy @ p.weight.T, p, x, rng=settings)
    np.testing.assert_array_equal(theta, before[0])
    np.testing.assert_array_equal(x, before[1])
    assert settings.bit_generator.state == before[2]
    assert theta.flags.writeable
    assert x.flags.writeable


def test_an_unknown_mode_is_rejected():
    with pytest.raises(ValueError, match=r'mode is .both.; it must be "directions" or "coordinat'):
        gradient_errors(softmax_forward, softmax_backward, None, np.ones((2, 3)), mode="both")


def test_a_random_backward_is_named_as_one():
    drawn = np.random.default_rng(0)
    with pytest.raises(WrongGradient, match="draws random numbers, or changes its cache"):
        check("gelu", lambda dy, cache: dy * drawn.random(dy.shape))


def test_a_forward_without_a_cache_is_blamed_for_it():
    with pytest.raises(ValueError, match=r"the forward returns one value, not \(y, cache\)"):
        check_gradients(lambda x: 2 * x, lambda dy, cache: 2 * dy, None, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"the forward returns 3 values, not \(y, cache\)"):
        check_gradients(lambda x: (x, x, x), lambda dy, cache: dy, None, np.ones(3))


def test_an_integer_input_is_blamed_by_its_name():
    def forward(x, times):
        return x * times, times

    with pytest.raises(WrongGradient, match="2 gradients for 1 arrays.*input 1 `times` is int64"):
        check_gradients(
            forward, lambda dy, t: (dy * t, dy.sum()), None, np.ones(3), np.array(2, np.int64)
        )
    with pytest.raises(ValueError, match="parameter w is int64: it must be floating-point"):
        check_gradients(forward, None, {"w": np.ones(3, np.int64)})


def test_scalars_may_be_numbers():
    """A sum over all axes of an array is a np.float64 and no array."""

    def forward(p, x):
        return p["scale"] * x, (p["scale"], x)

    def backward(p, dy, cache):
        scale, x = cache
        return dy * scale, {"scale": (dy * x).sum()}

    p = {"scale": np.array(1.5)}
    for x in (np.ones((2, 3)), np.float64(2.0), 2.0):
        errors = check_gradients(forward, backward, p, x, returns_dp=True)
        assert [e.name for e in errors] == ["scale", "input 0"]
    errors = check_gradients(forward, backward, {"scale": np.float64(1.5)}, 2.0, returns_dp=True)
    assert [e.name for e in errors] == ["scale", "input 0"]


def test_inputs_have_the_names_of_the_forward(rng):
    q, k, v = rng.standard_normal((3, 2, 5, 4))

    def wrong(dy, cache):
        dq, dk, dv = attention_backward(dy, cache)
        return dq, 1.1 * dk, dv

    with pytest.raises(WrongGradient, match=r"input 1 `k` .*largest of 3 directions: analytic"):
        check_gradients(PAIRS["attention"].forward, wrong, None, q, k, v)
