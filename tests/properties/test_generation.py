"""§3.3, §5.4 Decoding: sampling draws from a distribution, a beam is no worse than greedy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.generation.beam_search import beam_search, greedy_search
from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import generate, next_token_distribution
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_forward, seq2seq_init
from tests.properties.strategies import SEEDS, effort, jittered

LOGITS = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e4, 1e4, width=32))
TIES = hnp.arrays(np.float32, st.integers(1, 8), elements=st.integers(-2, 2))
TEMPERATURES = st.sampled_from([0.0, 5e-324, 1e-310, 1e300]) | st.floats(0.1, 3)


@given(LOGITS | TIES, TEMPERATURES, st.none() | st.integers(1, 25), st.floats(1e-6, 1.0))
def test_it_is_always_a_distribution(logits, temperature, top_k, top_p):
    p = next_token_distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    assert p.dtype == np.float64
    assert p.sum() == pytest.approx(1.0)
    assert (p >= 0).all()
    assert p[logits.argmax()] == p.max() > 0
    assert np.count_nonzero(p) <= (top_k or len(p))
    order = np.argsort(-logits, kind="stable")
    assert (np.diff(p[order]) <= 0).all()  # and so the kept ones are the most probable


@given(LOGITS | TIES, st.floats(0.1, 1e3), st.none() | st.integers(1, 25), st.floats(0.01, 1.0))
def test_the_filters_do_what_plain_loops_do(logits, temperature, top_k, top_p):
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:top_k]
    peak = float(max(logits))
    powers = [math.exp((float(logits[i]) - peak) / temperature) for i in ranked]
    kept, mass, goal = [], 0.0, top_p * math.fsum(powers)
    for i, power in zip(ranked, powers, strict=True):
        # Where the sum meets p to the last digits, either side is right.
        assume(top_p == 1.0 or abs(mass - goal) > 1e-9 * goal)
        if mass >= goal and top_p < 1.0:
            break
        kept.append((i, power))
        mass += power
    expected = np.zeros(len(logits))
    for i, power in kept:
        expected[i] = power / mass
    found = next_token_distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


@effort(0.3)
@given(SEEDS, st.integers(1, 9), st.floats(0.0, 2.0), st.integers(1, 4))
def test_one_state_one_text_and_a_longer_one_begins_with_it(seed, n_tokens, temperature, prompt):
    config = GPTConfig(vocab_size=7, context=4, n_layers=1, n_heads=2, d_model=8, d_ff=8)
    _, p = jittered(gpt_init(seed, config)[1], seed)
    ids = np.arange(prompt)

    def text(n):
        rng = np.random.default_rng(seed)
        return list(generate(CachedGPT(p, config), ids, n, rng=rng, temperature=temperature))

    longer = text(n_tokens + 2)
    assert text(n_tokens) == longer[:n_tokens]
    assert all(0 <= token < 7 for token in longer)


START, END = 0, 1


@st.composite
def translators(draw):
    """A small encoder-decoder, its options, and a padded source with its mask."""
    vocab_size, longest, seed = draw(st.integers(3, 5)), draw(st.integers(1, 4)), draw(SEEDS)
    config = Seq2SeqConfig(
        vocab_size=vocab_size, context=6, n_layers=1, n_heads=2, d_model=8, d_ff=8,
        positions="learned",
    )  # fmt: skip
    _, p = jittered(seq2seq_init(seed, config)[1], seed)
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    source = np.random.default_rng(seed).integers(0, vocab_size, mask.shape)
    options = {"config": config, "start": START, "end": END, "max_tokens": longest}
    return p, source, options | {"source_mask": mask, "alpha": draw(st.floats(-1, 2))}


def score_of(p, source, mask, target, config, alpha):
    """log P of target ids, with their end, over the length penalty."""
    ids = np.array([[START, *target]])
    logits, _ = seq2seq_forward(p, source, ids[:, :-1], config=config, source_mask=mask)
    log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
    total = sum(log_p[t, token] for t, token in enumerate(target))
    return total / ((5 + len(target)) / 6) ** alpha


def all_scores(p, source, mask, vocab_size, longest, config, alpha):
    """Every target that ends within ``longest`` tokens, and every one that long without an end."""
    others = [t for t in range(vocab_size) if t != END]
    for n in range(1, longest + 1):
        beginnings = list(itertools.product(others, repeat=n - 1))
        targets = [(*b, END) for b in beginnings]
        if n == longest:
            targets += list(itertools.product(others, repeat=n))
        ids = np.array([(START, *target) for target in targets])
        sources, masks = (np.repeat(a, len(ids), axis=0) for a in (source, mask))
        logits, _ = seq2seq_forward(p, sources, ids[:, :-1], config=config, source_mask=masks)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        totals = np.take_along_axis(log_p, ids[:, 1:, None], axis=2).sum(axis=(1, 2))
        yield from zip(totals / ((5 + n) / 6) ** alpha, targets, strict=True)


@effort(0.7)
@given(translators())
def test_a_beam_of_all_beginnings_is_exhaustive_search(translator):
    p, source, options = translator
    longest, config, alpha = options["max_tokens"], options["config"], options["alpha"]
    for row in range(len(source)):
        part, mask = source[row : row + 1], options["source_mask"][row : row + 1]
        every = all_scores(p, part, mask, config.vocab_size, longest, config, alpha)
        score, target = max(every)
        beam = config.vocab_size**longest
        (found,) = beam_search(p, part, beam=beam, **options | {"source_mask": mask})
        assert found.score == pytest.approx(score, rel=1e-9)
        assert found.ids == tuple(t for t in target if t != END)
        assert found.ended == (target[-1] == END)


@given(translators(), st.integers(1, 4))
def test_a_beam_is_never_below_greedy_and_scores_what_it_says(translator, beam):
    """Batched, padded and at any penalty: each score is the one of its ids."""
    p, source, options = translator
    config, alpha = options["config"], options["alpha"]
    greedy = greedy_search(p, source, **options)
    found = beam_search(p, source, beam=beam, **options)
    for row, (better, worse) in enumerate(zip(found, greedy, strict=True)):
        assert better.score >= worse.score
        for h in (better, worse):
            assert len(h.ids) + h.ended <= options["max_tokens"]
            assert h.ended or len(h.ids) == options["max_tokens"]
            target = (*h.ids, END) if h.ended else h.ids
            part = source[row : row + 1, options["source_mask"][row]]
            score = score_of(p, part, None, target, config, alpha)
            assert h.score == pytest.approx(score, rel=1e-9)
