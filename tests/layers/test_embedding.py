import numpy as np
import pytest

from numpylm.layers.embedding import (
    Embedding,
    embedding_backward,
    embedding_forward,
    embedding_init,
    unembedding_backward,
    unembedding_forward,
)


def table(rng):
    return Embedding(rng.standard_normal((5, 3)))


def test_each_id_is_replaced_by_its_row(rng):
    p, ids = table(rng), np.array([[4, 0, 4], [1, 1, 2]])
    x, _ = embedding_forward(p, ids)
    for b, t in np.ndindex(2, 3):
        np.testing.assert_array_equal(x[b, t], p.weight[ids[b, t]])


def test_unembedding_scores_each_row(rng):
    p, h = table(rng), rng.standard_normal((2, 4, 3))
    logits, _ = unembedding_forward(p, h)
    for b, t, word in np.ndindex(2, 4, 5):
        assert logits[b, t, word] == pytest.approx(h[b, t] @ p.weight[word], rel=1e-12)


def test_a_tied_table_collects_both_gradients(rng):
    p, ids, dy = table(rng), np.array([0, 1]), rng.standard_normal((2, 3))
    h, dlogits = rng.standard_normal((2, 3)), rng.standard_normal((2, 5))
    both, first, second = (Embedding(np.zeros((5, 3))) for _ in range(3))
    for dp in (both, first):
        embedding_backward(p, dp, dy, ids)
    for dp in (both, second):
        unembedding_backward(p, dp, dlogits, h)
    np.testing.assert_allclose(both.weight, first.weight + second.weight, rtol=1e-12)
    assert second.weight[[2, 3, 4]].all()  # the output layer also reaches absent words


def test_the_initial_scale(rng):
    weight = embedding_init(rng, 300, 200).weight
    assert weight.dtype == np.float32
    assert weight.std() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(("ids", "span"), [([0, 5], "0 to 5"), ([-1, 2], "-1 to 2")])
def test_ids_outside_the_vocabulary_are_rejected(rng, ids, span):
    with pytest.raises(ValueError, match=f"token ids span {span}, the vocabulary has 5 entries"):
        embedding_forward(table(rng), np.array(ids))
