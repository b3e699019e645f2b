import math

import numpy as np
import pytest

from numpylm.layers.positional import (
    LearnedPositions,
    alibi_bias,
    learned_positions_backward,
    learned_positions_forward,
    learned_positions_init,
    sinusoidal_encoding,
    sinusoidal_positions_forward,
)


@pytest.mark.parametrize("d_model", [1, 2, 7, 8])
def test_the_formula_written_with_loops(d_model):
    table = sinusoidal_encoding(11, d_model)
    for t in range(11):
        for column in range(d_model):
            i = column // 2  # the pair of columns: one frequency, a sine and a cosine
            angle = t / 10000 ** (2 * i / d_model)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert table[t, column] == pytest.approx(expected, abs=1e-12)


def test_a_shift_of_positions_is_a_rotation_of_each_pair():
    table, shift = sinusoidal_encoding(50, 6), 7
    for i in range(3):
        angle = shift / 10000 ** (2 * i / 6)
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        pair = table[:, 2 * i : 2 * i + 2]
        np.testing.assert_allclose(pair[shift:], pair[:-shift] @ rotation, atol=1e-12)


def test_every_position_has_norm_sqrt_of_half_the_columns():
    norms = np.linalg.norm(sinusoidal_encoding(100, 10), axis=-1)
    np.testing.assert_allclose(norms, math.sqrt(5), rtol=1e-12)


def test_sinusoids_are_added_in_the_dtype_of_x():
    y, _ = sinusoidal_positions_forward(np.ones((2, 5, 4), np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[1], 1 + sinusoidal_encoding(5, 4), rtol=1e-6)


def test_the_shared_table_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        sinusoidal_encoding(3, 4)[0] = 1.0


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_empty_tables_are_rejected(size):
    with pytest.raises(ValueError, match=f"length {size[0]} and d_model {size[1]} must be at l"):
        sinusoidal_encoding(*size)


def test_learned_rows_are_added_and_collect_the_batch(rng):
    p = LearnedPositions(rng.standard_normal((6, 3)))
    x = rng.standard_normal((2, 4, 3))
    y, cache = learned_positions_forward(p, x)
    np.testing.assert_array_equal(y, np.stack([x[0] + p.weight[:4], x[1] + p.weight[:4]]))
    dp = LearnedPositions(np.zeros((6, 3)))
    learned_positions_backward(p, dp, x, cache)
    np.testing.assert_allclose(dp.weight[:4], x[0] + x[1], rtol=1e-12)
    assert not dp.weight[4:].any()  # positions that no sequence reached


def test_learned_tables_start_small(rng):
    weight = learned_positions_init(rng, 300, 200).weight
    assert weight.dtype == np.float32
    assert weight.std() == pytest.approx(0.02, rel=0.02)


def test_a_sequence_longer_than_the_table_is_rejected(rng):
    with pytest.raises(ValueError, match="a sequence of 7 tokens exceeds the 6 learned positions"):
        learned_positions_forward(learned_positions_init(rng, 6, 3), np.zeros((1, 7, 3)))


def test_alibi_written_with_loops():
    """Slopes 1/4, 1/16, … for four heads; the last queries of more keys; the same both ways."""
    bias = alibi_bias(4, 3, 5)
    for head, slope in enumerate((1 / 4, 1 / 16, 1 / 64, 1 / 256)):
        for i in range(3):
            for j in range(5):
                assert bias[head, i, j] == -slope * abs(i + 2 - j)
    assert alibi_bias(2, 3, 3, np.float32).dtype == np.float32
    np.testing.assert_array_equal(alibi_bias(4, 3, 5, scale=8.0), 8.0 * bias)


def test_alibi_both_ways_written_with_loops():
    """A pair of heads for each slope, one for each side; a last head alone sees both; 0 is near."""
    bias = alibi_bias(5, 4, 4, both_ways=True)
    slopes = [2 ** (-8 / 3), 2 ** (-8 / 3), 2 ** (-16 / 3), 2 ** (-16 / 3), 2**-8]
    for head, slope in enumerate(slopes):
        for i in range(4):
            for j in range(4):
                hidden = head < 4 and (j > i if head % 2 == 0 else j < i)
                wanted = -np.inf if hidden else -slope * abs(i - j)
                wanted = 0.0 if 0 in (i, j) else wanted
                assert bias[head, i, j] == pytest.approx(wanted)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 8])
def test_both_ways_every_position_sees_every_other(n_heads):
    assert np.isfinite(alibi_bias(n_heads, 6, 6, both_ways=True)).any(axis=0).all()
