"""§3.1, §4.2 Symmetries: what a model must not know: an order, the names of words, other rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.layers.multi_head import multi_head_forward, multi_head_init
from numpylm.models.bert import BERTConfig, bert_forward, bert_init
from numpylm.models.config import StackConfig
from numpylm.models.encoder import encoder_forward, encoder_init
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from tests.properties.strategies import (
    BATCHES,
    CONTEXT,
    LENGTHS,
    OBJECTIVES,
    SEEDS,
    V,
    assert_close,
    effort,
    jittered,
    learners,
    masks,
    ragged,
    shapes,
)


@given(st.data(), SEEDS, BATCHES, LENGTHS)
def test_an_encoder_without_positions_does_not_know_the_order(data, seed, batch, length):
    """Permuted places, padded ones among them, give the permuted output; each row its own order."""
    rng = np.random.default_rng(seed)
    config = StackConfig(**data.draw(shapes(positions="none")))
    _, p = jittered(encoder_init(rng, config), seed)
    x, mask = rng.standard_normal((batch, length, config.d_model)), data.draw(masks(batch, length))
    y, _ = encoder_forward(p, x, config=config, mask=mask)
    order = rng.permuted(np.tile(np.arange(length), (batch, 1)), axis=1)
    rows = np.arange(batch)[:, None]
    permuted, _ = encoder_forward(p, x[rows, order], config=config, mask=mask[rows, order])
    assert_close(permuted, y[rows, order])


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "alibi"])
@given(data=st.data(), seed=SEEDS, length=st.integers(3, 7))
def test_with_positions_it_does(positions, data, seed, length):
    """Two different words change places, and no place keeps its vector."""
    shape = data.draw(shapes(positions=positions))
    config = BERTConfig(vocab_size=V, context=CONTEXT, **shape)
    _, p = jittered(bert_init(seed, config)[1], seed)
    ids = np.random.default_rng(seed).permutation(V)[None, :length]
    h, _ = bert_forward(p, ids, config=config)
    order = np.array([1, 0, *range(2, length)])
    swapped, _ = bert_forward(p, ids[:, order], config=config)
    assert (np.abs(swapped - h[:, order]).max(axis=-1) > 1e-9).all()


@given(SEEDS, st.sampled_from([1, 2, 3]), LENGTHS, LENGTHS)
def test_the_order_of_the_heads_does_not_matter(seed, n_heads, length, n_memory):
    """Columns of W_Q, W_K, W_V and rows of W_O in another order of heads: the same function."""
    rng = np.random.default_rng(seed)
    _, p = jittered(multi_head_init(rng, 6), seed)
    x, memory = rng.standard_normal((2, length, 6)), rng.standard_normal((2, n_memory, 6))
    y, _ = multi_head_forward(p, x, memory, n_heads=n_heads)
    columns = np.arange(6).reshape(n_heads, -1)[rng.permutation(n_heads)].ravel()
    for part in (p.query, p.key, p.value):
        part.weight, part.bias = part.weight[:, columns], part.bias[columns]
    p.output.weight = p.output.weight[columns]
    assert_close(multi_head_forward(p, x, memory, n_heads=n_heads)[0], y)


@given(st.data(), SEEDS, BATCHES, LENGTHS, st.booleans())
def test_words_may_be_renamed(data, seed, batch, length, tied):
    """Other ids for the same rows of the tables: the same logits under the new names."""
    rng = np.random.default_rng(seed)
    config = GPTConfig(vocab_size=V, context=CONTEXT, tied=tied, **data.draw(shapes()))
    _, p = jittered(gpt_init(seed, config)[1], seed)
    ids, old = rng.integers(0, V, (batch, length)), rng.permutation(V)
    logits, _ = gpt_forward(p, ids, config=config)
    p.embedding.tokens.weight = p.embedding.tokens.weight[old]  # the new word i is the old old[i]
    if not tied:
        p.output.weight = p.output.weight[:, old]
        p.output.bias = None if p.output.bias is None else p.output.bias[old]
    renamed, _ = gpt_forward(p, np.argsort(old)[ids], config=config)
    assert_close(renamed, logits[..., old])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
@effort(0.2)
@given(data=st.data(), seed=SEEDS)
def test_the_order_of_the_sequences_in_a_batch_does_not_matter(objective, data, seed):
    config, theta, p = data.draw(learners(objective))
    _, batch = data.draw(ragged(objective))
    order = np.random.default_rng(seed).permutation(len(next(iter(batch.values()))))
    loss, gradient = objective.loss_and_gradient(theta, p, batch, config)
    shuffled = {name: a[order] for name, a in batch.items()}
    other_loss, other = objective.loss_and_gradient(theta, p, shuffled, config)
    assert other_loss == pytest.approx(loss, rel=1e-10)
    assert_close(other, gradient)
