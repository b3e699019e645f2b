"""§3.3 Special tokens, and rows of different lengths as one array."""

import numpy as np

from numpylm.data.special import N_SENTINELS, N_SPECIAL, SpecialTokens, pad_rows


def test_special_tokens_follow_the_ordinary_ones_each_with_an_id_of_its_own():
    s = SpecialTokens(100)
    ids = [s.pad, s.cls, s.sep, s.mask, s.start, s.end, *s.sentinels]
    assert ids == list(range(100, 138))  # the order is part of every checkpoint
    assert (N_SENTINELS, N_SPECIAL, s.vocab_size) == (32, 38, 138)
    np.testing.assert_array_equal(s.ordinary, np.arange(100))


def test_rows_are_filled_at_their_end():
    table = pad_rows([np.array([5, 6]), np.array([7]), np.array([8, 9, 1]), np.array([], int)], -1)
    np.testing.assert_array_equal(table, [[5, 6, -1], [7, -1, -1], [8, 9, 1], [-1, -1, -1]])
    assert table.dtype == np.int64
