"""§2.2 The encoder-decoder: the source in full, the target only so far, padding never."""

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_forward, seq2seq_init
from numpylm.objectives.denoising import denoising_backward, denoising_forward
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves, view

SIZES = {"vocab_size": 11, "context": 9, "n_layers": 2, "n_heads": 2, "d_model": 8, "d_ff": 10}
SOURCE = np.array([[3, 4, 5, 6, 7, 8], [9, 4, 3, 10, 0, 0]])
TARGET = np.array([[1, 5, 6, 7], [1, 8, 2, 0]])


def model(**choices):
    config = Seq2SeqConfig(**SIZES, **choices)
    _, p = jittered(seq2seq_init(0, config)[1], 1, size=0.3)
    return config, p


def test_every_source_token_reaches_every_logit():
    config, p = model()
    y, _ = seq2seq_forward(p, SOURCE, TARGET, config=config)
    other = SOURCE.copy()
    other[0, 5] = 3
    changed, _ = seq2seq_forward(p, other, TARGET, config=config)
    assert (np.abs(changed - y)[0].max(axis=-1) > 1e-9).all()
    np.testing.assert_array_equal(changed[1], y[1])


def test_shared_or_separate_tables():
    _, shared = model()
    assert shared.target is None
    assert shared.target_embedding is shared.source
    config, separate = model(target_vocab_size=13, tied=False)
    assert separate.target_embedding.tokens.weight.shape == (13, 8)
    assert separate.output.weight.shape == (8, 13)
    logits, _ = seq2seq_forward(separate, SOURCE, TARGET, config=config)
    assert logits.shape == (2, 4, 13)


def test_one_batch_can_be_learned_by_heart():
    config = Seq2SeqConfig(**{**SIZES, "d_model": 32, "d_ff": 64})
    theta, p = seq2seq_init(0, config)
    target_out = np.array([[5, 6, 7, 2], [8, 2, -1, -1]])
    gradient = np.zeros_like(theta)
    dp, optimizer = view(p, gradient), Optimizer("adam", theta, None)
    for _ in range(150):
        gradient[...] = 0.0
        loss, cache = denoising_forward(p, SOURCE, TARGET, target_out, config=config)
        denoising_backward(p, dp, np.float32(1.0), cache)
        optimizer.update(gradient, lr=3e-3)
    assert loss < 0.05


def test_at_initialisation_the_loss_is_that_of_guessing():
    config = Seq2SeqConfig(**SIZES)
    _, p = seq2seq_init(0, config)
    loss, _ = denoising_forward(p, SOURCE, TARGET, TARGET, config=config)
    assert loss == pytest.approx(np.log(11), rel=0.05)


def test_every_parameter_but_key_biases_has_a_gradient():
    config, p = model(target_vocab_size=13, tied=False, positions="learned")
    dp = view(p, np.zeros(sum(a.size for _, a in leaves(p))))
    _, cache = denoising_forward(p, SOURCE, TARGET, TARGET, config=config)
    denoising_backward(p, dp, 1.0, cache)
    for name, gradient in leaves(dp):
        assert (np.abs(gradient).max() < 1e-12) == name.endswith("key.bias"), name


def test_what_does_not_fit_is_named():
    config, p = model()
    with pytest.raises(ValueError, match=r"target ids \(2, 10\) must be .* ≤ context 9"):
        seq2seq_forward(p, SOURCE, np.ones((2, 10), np.int64), config=config)
    with pytest.raises(ValueError, match="source ids"):
        seq2seq_forward(p, np.ones((2, 10), np.int64), TARGET, config=config)
    with pytest.raises(ValueError, match="target_vocab_size is 0"):
        Seq2SeqConfig(**SIZES, target_vocab_size=0)
