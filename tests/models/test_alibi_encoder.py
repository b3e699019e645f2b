"""§3.1 An encoder with ALiBi knows left from right, which distances alone do not tell."""

import numpy as np

from numpylm.models.bert import BERTConfig, bert_forward, bert_init


def test_a_masked_word_between_two_others_knows_their_order():
    config = BERTConfig(
        vocab_size=9, context=8, n_layers=1, n_heads=2, d_model=8, d_ff=16, positions="alibi"
    )
    theta, p = bert_init(0, config)
    theta *= 5
    ids = np.array([[7, 2, 5, 3, 7], [7, 3, 5, 2, 7]])  # mirror images
    h, _ = bert_forward(p, ids, config=config)
    assert np.abs(h[0, 2] - h[1, 2]).max() > 1e-2
