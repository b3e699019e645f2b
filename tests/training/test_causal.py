"""§5.4 Evaluation: every full window, each token once."""

import numpy as np
import pytest

from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.training.evaluation import ROWS, evaluate
from numpylm.training.parallel import DataParallel


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_the_mean_over_every_token_of_every_window(rng, threads):
    config = GPTConfig(vocab_size=7, context=5, n_layers=1, n_heads=2, d_model=8, d_ff=8)
    theta, p = gpt_init(0, config)
    theta *= 20
    stream = rng.integers(0, 7, (2 * ROWS + 5) * 5 + 3)  # 37 windows and a rest of 2 targets
    expected = []
    for start in range(0, (len(stream) - 1) // 5 * 5, 5):
        logits, _ = gpt_forward(p, stream[None, start : start + 5], config=config)
        log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
        expected += [-log_p[t, stream[start + t + 1]] for t in range(5)]
    assert len(expected) == 37 * 5
    pair = (causal_lm_forward, causal_lm_backward)
    with DataParallel(*pair, theta, p, threads, config=config) as parallel:
        assert evaluate(parallel, stream, 5) == pytest.approx(np.mean(expected), rel=1e-6)
