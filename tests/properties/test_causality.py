"""§3.2, §4.1 Causality: nothing that comes later changes what came before, forward or backward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.layers.attention import attention_backward, attention_forward
from numpylm.layers.choices import POSITIONS, names
from numpylm.layers.cross_entropy import IGNORE
from numpylm.layers.positional import alibi_bias
from numpylm.models.config import StackConfig
from numpylm.models.decoder import decoder_backward, decoder_forward, decoder_init
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_forward, seq2seq_init
from numpylm.parameters import view
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
    shapes,
)

both_norms = pytest.mark.parametrize("norm", ["pre", "post"])
all_positions = pytest.mark.parametrize("positions", names(POSITIONS))
sequences = [o for o in OBJECTIVES if o.name in ("causal", "untied", "denoising")]


@given(st.data(), SEEDS, LENGTHS, st.integers(0, 3))
def test_attention_sees_no_later_key(data, seed, n_queries, more_keys):
    """With more keys than queries the queries are the last: query i sees keys up to i + (S − T)."""
    rng = np.random.default_rng(seed)
    n_heads, n_keys = 3, n_queries + more_keys
    q, k, v = (rng.standard_normal((2, n_heads, n, 4)) for n in (n_queries, n_keys, n_keys))
    last = data.draw(st.integers(0, n_queries - 1))  # the present: what follows is the future
    seen = last + more_keys + 1
    bias = alibi_bias(n_heads, n_queries, n_keys) if data.draw(st.booleans()) else None
    options = {"causal": True, "bias": bias, "mask": data.draw(masks(2, 1, n_queries, n_keys))}
    y, cache = attention_forward(q, k, v, **options)
    q2, k2, v2 = q.copy(), k.copy(), v.copy()
    q2[..., last + 1 :, :] *= -3
    k2[..., seen:, :] += 1e3
    v2[..., seen:, :] -= 1e6
    changed, _ = attention_forward(q2, k2, v2, **options)
    np.testing.assert_array_equal(changed[..., : last + 1, :], y[..., : last + 1, :])

    dy = rng.standard_normal(y.shape)
    dy[..., last + 1 :, :] = 0.0
    dq, dk, dv = attention_backward(dy, cache)
    assert not dq[..., last + 1 :, :].any()
    assert not dk[..., seen:, :].any()
    assert not dv[..., seen:, :].any()


@both_norms
@all_positions
@effort(0.7)
@given(data=st.data(), seed=SEEDS, batch=BATCHES, length=LENGTHS)
def test_no_decoder_looks_ahead(norm, positions, data, seed, batch, length):
    """With or without a memory, padding anywhere, dropout on or off: to the bit."""
    rng = np.random.default_rng(seed)
    dropout = data.draw(st.sampled_from([0.0, 0.3]))
    config = StackConfig(**data.draw(shapes(norm=norm, positions=positions, dropout=dropout)))
    cross = data.draw(st.booleans())
    theta, p = jittered(decoder_init(rng, config, cross=cross), seed)
    x = rng.standard_normal((batch, length, config.d_model))
    memory, memory_mask = None, None
    if cross:
        memory = rng.standard_normal((batch, 5, config.d_model))
        memory_mask = data.draw(masks(batch, 5))
    mask = data.draw(masks(batch, length))
    last = data.draw(st.integers(0, length - 1))

    def run(x):
        return decoder_forward(p, x, memory, config=config, mask=mask, memory_mask=memory_mask,
                               rng=np.random.default_rng(1))  # fmt: skip

    y, cache = run(x)
    later = x.copy()
    later[:, last + 1 :] += 1 + rng.standard_normal(later[:, last + 1 :].shape)
    changed, _ = run(later)
    np.testing.assert_array_equal(changed[:, : last + 1], y[:, : last + 1])
    assert (changed != y).any(axis=(0, 2))[last + 1 :].all()  # the present does see itself

    dy = rng.standard_normal(y.shape)
    dy[:, last + 1 :] = 0.0
    dx, _ = decoder_backward(p, view(p, np.zeros_like(theta)), dy, cache)
    assert not dx[:, last + 1 :].any()
    if dropout == 0.0:
        assert dx[:, last].any()


@both_norms
@all_positions
@effort(0.5)
@given(data=st.data(), seed=SEEDS, batch=BATCHES, length=LENGTHS)
def test_a_later_token_changes_no_earlier_logit(norm, positions, data, seed, batch, length):
    rng = np.random.default_rng(seed)
    shape = data.draw(shapes(norm=norm, positions=positions))
    ids = rng.integers(0, V, (batch, length))
    last = data.draw(st.integers(0, length - 1))
    later = ids.copy()
    later[:, last + 1 :] = (ids[:, last + 1 :] + rng.integers(1, V)) % V
    source = rng.integers(0, V, (batch, 4))

    config = GPTConfig(vocab_size=V, context=CONTEXT, tied=data.draw(st.booleans()), **shape)
    _, p = jittered(gpt_init(seed, config)[1], seed)
    y, changed = (gpt_forward(p, x, config=config)[0] for x in (ids, later))
    np.testing.assert_array_equal(changed[:, : last + 1], y[:, : last + 1])
    assert (changed != y).any(axis=(0, 2))[last + 1 :].all()

    config = Seq2SeqConfig(vocab_size=V, context=CONTEXT, **shape)
    _, p = jittered(seq2seq_init(seed, config)[1], seed)
    y, changed = (seq2seq_forward(p, source, x, config=config)[0] for x in (ids, later))
    np.testing.assert_array_equal(changed[:, : last + 1], y[:, : last + 1])
    assert (changed != y).any(axis=(0, 2))[last + 1 :].all()


@pytest.mark.parametrize("objective", sequences, ids=lambda o: o.name)
@given(data=st.data(), seed=SEEDS, batch=BATCHES, length=LENGTHS)
def test_what_is_not_to_be_predicted_might_as_well_not_follow(objective, data, seed, batch, length):
    """Targets up to a place: loss and every gradient are those of the sequence cut off there."""
    rng = np.random.default_rng(seed)
    config, theta, p = data.draw(learners(objective))
    whole = objective.pad(rng, [objective.row(rng, length, 4) for _ in range(batch)], 0)
    cut = data.draw(st.integers(1, length))
    target = "targets" if "targets" in whole else "target_out"
    whole[target][:, cut:] = IGNORE
    short = {n: a[:, :cut] if objective.axes[n] == "T" else a for n, a in whole.items()}
    loss, gradient = objective.loss_and_gradient(theta, p, whole, config)
    expected_loss, expected = objective.loss_and_gradient(theta, p, short, config)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_close(gradient, expected)
