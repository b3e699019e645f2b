"""§3.3 Beam search against exhaustive search, against greedy, and batched against one by one."""

import numpy as np
import pytest

from numpylm.generation.beam_search import beam_search, greedy_search
from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_forward, seq2seq_init

START, END, V, LENGTH = 1, 2, 5, 4
SOURCE = np.array([[3, 4, 3, 0], [4, 4, 3, 3], [3, 0, 0, 0]])


def model(seed, scale=0.8):
    config = Seq2SeqConfig(
        vocab_size=V, context=8, n_layers=1, n_heads=2, d_model=8, d_ff=12, positions="learned"
    )
    _, p = jittered(seq2seq_init(seed, config)[1], seed, size=scale)
    options = {"config": config, "start": START, "end": END, "max_tokens": LENGTH}
    return p, options


def test_batched_equals_one_by_one():
    p, options = model(3)
    together = beam_search(p, SOURCE, source_mask=SOURCE != 0, beam=3, **options)
    for row, expected in enumerate(together):
        source = SOURCE[row : row + 1, SOURCE[row] != 0]  # without padding
        (alone,) = beam_search(p, source, beam=3, **options)
        assert alone.ids == expected.ids
        assert alone.score == pytest.approx(expected.score, rel=1e-9)


def test_greedy_follows_the_largest_logit_and_stops_at_the_end():
    for seed in range(20):
        p, options = model(seed)
        (found,) = greedy_search(p, SOURCE[:1], **options)
        target, total = [START], 0.0
        for _ in range(LENGTH):
            logits, _ = seq2seq_forward(p, SOURCE[:1], np.array([target]), config=options["config"])
            last = logits[0, -1]
            target.append(int(last.argmax()))
            total += last.max() - np.log(np.exp(last).sum())
            if target[-1] == END:
                break
        assert found.ids == tuple(t for t in target[1:] if t != END)
        assert found.score == pytest.approx(total / ((5 + len(target) - 1) / 6) ** 0.6)
        assert found.ended == (target[-1] == END)


@pytest.mark.parametrize("bad", [{"beam": 0}, {"max_tokens": 0}, {"max_tokens": 9}])
def test_bad_settings_are_named(bad):
    p, options = model(0)
    with pytest.raises(ValueError, match="must be at least 1, max_tokens at most the context 8"):
        beam_search(p, SOURCE, **{**options, **bad})
