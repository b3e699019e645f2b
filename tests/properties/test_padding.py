"""§3.1 Padding: neither what stands in padded places nor how many there are changes anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward
from numpylm.models.bert import BERTConfig, bert_forward, bert_init
from numpylm.models.config import StackConfig
from numpylm.models.decoder import decoder_backward, decoder_forward, decoder_init
from numpylm.models.encoder import encoder_backward, encoder_forward, encoder_init
from numpylm.parameters import pack, view
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

each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)


@given(st.data(), SEEDS, BATCHES, LENGTHS)
def test_an_encoder_sees_nothing_of_padded_places(data, seed, batch, length):
    """Wherever they are, even everywhere; to the bit, and no gradient reaches them."""
    rng = np.random.default_rng(seed)
    config = StackConfig(**data.draw(shapes()))
    theta, p = jittered(encoder_init(rng, config), seed)
    x = rng.standard_normal((batch, length, config.d_model))
    mask = data.draw(masks(batch, length))
    y, cache = encoder_forward(p, x, config=config, mask=mask)
    other = np.where(mask[..., None], x, 1e3 * rng.standard_normal(x.shape))
    changed, _ = encoder_forward(p, other, config=config, mask=mask)
    np.testing.assert_array_equal(changed[mask], y[mask])
    dy = np.where(mask[..., None], rng.standard_normal(y.shape), 0.0)
    dx = encoder_backward(p, view(p, np.zeros_like(theta)), dy, cache)
    assert not dx[~mask].any()
    assert dx[mask].any(axis=-1).all()


@given(st.data(), SEEDS, BATCHES, LENGTHS, LENGTHS)
def test_a_decoder_sees_nothing_of_a_padded_memory(data, seed, batch, length, n_memory):
    rng = np.random.default_rng(seed)
    config = StackConfig(**data.draw(shapes()))
    theta, p = jittered(decoder_init(rng, config, cross=True), seed)
    x, memory = (rng.standard_normal((batch, n, config.d_model)) for n in (length, n_memory))
    mask = data.draw(masks(batch, n_memory))
    y, cache = decoder_forward(p, x, memory, config=config, memory_mask=mask)
    other = np.where(mask[..., None], memory, 1e3 * rng.standard_normal(memory.shape))
    changed, _ = decoder_forward(p, x, other, config=config, memory_mask=mask)
    np.testing.assert_array_equal(changed, y)
    dy = rng.standard_normal(y.shape)
    _, dmemory = decoder_backward(p, view(p, np.zeros_like(theta)), dy, cache)
    assert not dmemory[~mask].any()
    assert dmemory[mask].any(axis=-1).all()


@given(st.data(), SEEDS, LENGTHS, st.integers(1, 5))
def test_more_padding_gives_bert_the_same_vectors(data, seed, length, extra):
    rng = np.random.default_rng(seed)
    config = BERTConfig(vocab_size=V, context=CONTEXT, **data.draw(shapes()))
    _, p = jittered(bert_init(seed, config)[1], seed)
    ids = rng.integers(0, V, (2, length + extra))
    mask = np.broadcast_to(np.arange(length + extra) < length, ids.shape)
    h, _ = bert_forward(p, ids, config=config, mask=mask)
    short, _ = bert_forward(p, ids[:, :length], config=config)
    assert_close(h[:, :length], short)


@each_objective
@effort(0.6)
@given(data=st.data())
def test_a_padded_batch_is_its_sequences_one_by_one(objective, data):
    """Loss and every gradient, whatever ids stand in the padding and however much there is."""
    config, theta, p = data.draw(learners(objective))
    rows, batch = data.draw(ragged(objective))
    n = objective.count(batch)
    loss, gradient = objective.loss_and_gradient(theta, p, batch, config)
    parts = [objective.loss_and_gradient(theta, p, row, config, normalizer=n) for row in rows]
    assert loss == pytest.approx(sum(part for part, _ in parts), rel=1e-10)
    assert_close(gradient, sum(part for _, part in parts))


@given(st.data(), SEEDS, BATCHES, LENGTHS)
def test_ignored_targets_might_as_well_be_absent(data, seed, batch, length):
    rng = np.random.default_rng(seed)
    logits, targets = rng.standard_normal((batch, length, V)), rng.integers(0, V, (batch, length))
    wanted = data.draw(masks(batch, length))
    wanted[0, 0] = True
    smoothing = data.draw(st.sampled_from([0.0, 0.2]))
    targets = np.where(wanted, targets, IGNORE)
    loss, cache = cross_entropy_forward(logits, targets, label_smoothing=smoothing)
    alone, c_alone = cross_entropy_forward(
        logits[wanted], targets[wanted], label_smoothing=smoothing
    )
    assert loss == pytest.approx(alone, rel=1e-12)
    dlogits = cross_entropy_backward(1.0, cache)
    assert not dlogits[~wanted].any()
    assert_close(dlogits[wanted], cross_entropy_backward(1.0, c_alone))
    logits[~wanted] += 100 * rng.standard_normal(logits[~wanted].shape)
    assert cross_entropy_forward(logits, targets, label_smoothing=smoothing)[0] == loss


def test_float32_too_sees_nothing_of_padded_places():
    """The same to the bit in the dtype of training."""
    rng = np.random.default_rng(0)
    config = StackConfig(n_layers=2, n_heads=2, d_model=8, d_ff=12)
    _, p = pack(encoder_init(rng, config))
    x = rng.standard_normal((3, 6, 8)).astype(np.float32)
    mask = np.arange(6) < np.array([[6], [3], [1]])
    other = np.where(mask[..., None], x, np.float32(9.0))
    y, changed = (encoder_forward(p, a, config=config, mask=mask)[0] for a in (x, other))
    np.testing.assert_array_equal(changed[mask], y[mask])
