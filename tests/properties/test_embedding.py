"""§3.1 Embedding: a token that occurs many times collects the gradient of each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.layers.embedding import Embedding, embedding_backward, embedding_forward
from tests.properties.strategies import SEEDS

VOCABULARY = 6  # few words, so that most ids repeat
IDS = hnp.arrays(
    st.sampled_from([np.int64, np.int32, np.uint8]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7),
    elements=st.integers(0, VOCABULARY - 1),
)


@given(IDS, SEEDS, st.integers(1, 4))
def test_repeated_ids_collect_all_their_gradients(ids, seed, d_model):
    """As the loop over all positions does; in a buffer that is added to."""
    rng = np.random.default_rng(seed)
    p, before = (Embedding(rng.standard_normal((VOCABULARY, d_model))) for _ in range(2))
    dp, dy = Embedding(before.weight.copy()), rng.standard_normal((*ids.shape, d_model))
    x, cache = embedding_forward(p, ids)
    assert x.shape == dy.shape
    embedding_backward(p, dp, dy, cache)
    expected = before.weight.copy()
    for place in np.ndindex(ids.shape):
        np.testing.assert_array_equal(x[place], p.weight[ids[place]])
        expected[ids[place]] += dy[place]
    np.testing.assert_allclose(dp.weight, expected, rtol=0, atol=1e-12)
    absent = np.setdiff1d(np.arange(VOCABULARY), ids)
    np.testing.assert_array_equal(dp.weight[absent], before.weight[absent])
