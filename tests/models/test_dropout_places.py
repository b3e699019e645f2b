"""§3.1 Dropout acts where the paper and GPT-2 have it, and nowhere else."""

import numpy as np

from numpylm.models.bert import BERTConfig, bert_forward, bert_init
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_forward, seq2seq_init

SIZES = {"vocab_size": 9, "n_layers": 2, "n_heads": 2, "d_model": 8, "d_ff": 10, "dropout": 0.5}
B, T, S, D, H = 3, 4, 5, 8, 2
IDS, SOURCE = np.ones((B, T), np.int64), np.ones((B, S), np.int64)


class Recorder:
    """A generator that notes the shape of every mask it draws."""

    def __init__(self):
        self.rng, self.shapes = np.random.default_rng(0), []

    def random(self, shape, dtype):
        self.shapes.append(shape)
        return self.rng.random(shape, dtype=dtype)


def layer(queries, keys=None):
    """The masks of one layer: weights and output of each attention, output of feed-forward."""
    cross = [(B, H, queries, keys), (B, queries, D)] if keys else []
    return [(B, H, queries, queries), (B, queries, D), *cross, (B, queries, D)]


def test_gpt():
    config, rng = GPTConfig(**SIZES), Recorder()
    gpt_forward(gpt_init(0, config)[1], IDS, config=config, rng=rng)
    assert rng.shapes == [(B, T, D), *layer(T), *layer(T)]


def test_bert():
    config, rng = BERTConfig(**SIZES), Recorder()
    bert_forward(bert_init(0, config)[1], IDS, config=config, rng=rng)
    assert rng.shapes == [(B, T, D), *layer(T), *layer(T)]


def test_seq2seq():
    config, rng = Seq2SeqConfig(**SIZES), Recorder()
    seq2seq_forward(seq2seq_init(0, config)[1], SOURCE, IDS, config=config, rng=rng)
    encoder = [(B, S, D), *layer(S), *layer(S)]
    assert rng.shapes == [*encoder, (B, T, D), *layer(T, S), *layer(T, S)]
