"""The key-value cache against the ordinary forward, which reads everything again."""

import numpy as np
import pytest

from numpylm.generation.kv_cache import CachedDecoder, CachedGPT
from numpylm.generation.sampling import generate, next_token_distribution
from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, names
from numpylm.models.decoder import seen_by
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.models.seq2seq import (
    Seq2SeqConfig,
    decode_forward,
    encode_forward,
    seq2seq_forward,
    seq2seq_init,
)
from numpylm.parameters import pack

B, S, V, CONTEXT = 3, 7, 17, 12
SIZES = {"n_layers": 3, "n_heads": 2, "d_model": 16, "d_ff": 20, "vocab_size": V}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def gpt(dtype=np.float64, **settings):
    config = GPTConfig(context=CONTEXT, **SIZES, **settings)
    return moved(gpt_init(0, config)[1], dtype), config


def seq2seq(dtype=np.float64, **settings):
    config = Seq2SeqConfig(context=CONTEXT, **SIZES, **settings)
    return moved(seq2seq_init(0, config)[1], dtype), config


def moved(p, dtype):
    """Away from the start, where biases are 0 and every γ is 1."""
    return jittered(p, 1, size=0.2, dtype=dtype)[1]


def random_ids(*shape):
    return np.random.default_rng(2).integers(0, V, shape)


VARIANTS = pytest.mark.parametrize(
    "settings",
    [
        {"positions": positions, "alibi_scale": 3.0, "norm": norm, "bias": bias, "tied": bias}
        for positions in names(POSITIONS)
        for norm in ("pre", "post")
        for bias in (True, False)
    ]
    + [{"normalisation": name} for name in names(NORMS)]
    + [{"activation": name} for name in names(ACTIVATIONS)],
    ids=lambda s: "-".join(map(str, s.values())),
)


@VARIANTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prompt", [1, 5, CONTEXT])
def test_a_prompt_and_then_token_by_token_gives_the_logits_of_one_forward(settings, dtype, prompt):
    p, config = gpt(dtype, **settings)
    ids = random_ids(B, CONTEXT)
    expected, _ = gpt_forward(p, ids, config=config)
    past, n = None, 0
    for end in range(prompt, CONTEXT + 1):
        logits, cache = gpt_forward(p, ids[:, n:end], config=config, past=past)
        assert logits.dtype == dtype
        np.testing.assert_allclose(logits, expected[:, n:end], atol=TOLERANCE[dtype])
        past, n = seen_by(cache.decoder), end


@VARIANTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_decoder_beside_an_encoder_too(settings, dtype):
    p, config = seq2seq(dtype, **settings)
    source, target = random_ids(B, S), random_ids(B, CONTEXT)
    mask = np.arange(S) < np.array([[S], [3], [1]])
    expected, _ = seq2seq_forward(p, source, target, config=config, source_mask=mask)
    memory, _ = encode_forward(p, source, config=config, source_mask=mask)
    read, n = CachedDecoder(p, memory, config, mask), 0
    for end in (4, *range(5, CONTEXT + 1)):
        logits = read(target[:, n:end])
        np.testing.assert_allclose(logits, expected[:, end - 1], atol=TOLERANCE[dtype])
        n = end


def test_targets_of_a_beam_take_their_past_with_them():
    p, config = seq2seq(target_vocab_size=9)
    source, target = random_ids(B, S), random_ids(B, 6) % 9
    memory, _ = encode_forward(p, source, config=config)
    memory = memory[[0, 0, 0]]  # three targets of one source
    read = CachedDecoder(p, memory, config)
    for n in range(3):
        read(target[:, n : n + 1])
    rows = np.array([2, 0, 2])
    read.select(rows)
    target = target[rows]
    for n in range(3, 6):
        expected, _ = decode_forward(p, memory, target[:, : n + 1], config=config)
        np.testing.assert_allclose(read(target[:, n : n + 1]), expected[:, n], atol=1e-12)


@pytest.mark.parametrize("positions", names(POSITIONS))
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("prompt", [1, CONTEXT - 1, CONTEXT, CONTEXT + 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_text_is_that_of_the_full_forward_also_beyond_the_context(
    positions, norm, prompt, temperature
):
    p, config = gpt(positions=positions, norm=norm)
    ids, rng = random_ids(prompt), np.random.default_rng(0)
    new = list(generate(CachedGPT(p, config), ids, 20, rng=rng, temperature=temperature))
    seen, rng = ids.tolist(), np.random.default_rng(0)
    for _ in range(20):
        logits, _ = gpt_forward(p, np.array([seen[-CONTEXT:]]), config=config)
        p_next = next_token_distribution(logits[0, -1], temperature=temperature)
        seen.append(int(rng.choice(V, p=p_next)))
    assert new == seen[prompt:]
    assert temperature == 0.0 or len(set(new)) > 2


def test_the_model_is_left_as_it_was():
    p, config = gpt()
    before = pack(p)[0]
    list(generate(CachedGPT(p, config), random_ids(3), 5, rng=np.random.default_rng(0)))
    np.testing.assert_array_equal(pack(p)[0], before)


def test_each_token_is_read_once(monkeypatch):
    p, config = gpt()
    lengths = []

    def counting(p, ids, **settings):
        lengths.append(ids.shape[1])
        return gpt_forward(p, ids, **settings)

    monkeypatch.setitem(LANGUAGE_MODELS, GPTConfig, (counting, None))
    list(generate(CachedGPT(p, config), random_ids(4), 11, rng=np.random.default_rng(0)))
    assert lengths == [4, *[1] * 8, CONTEXT, CONTEXT]


def test_another_text_is_read_from_its_start():
    p, config = gpt()
    read = CachedGPT(p, config)
    for text in ([1, 2, 3], [1, 2, 3, 4], [1, 5, 3, 4], [7], [7, 7], [7, 7]):
        logits, _ = gpt_forward(p, np.array([text]), config=config)
        np.testing.assert_allclose(read(text), logits[0, -1], atol=1e-12)


def test_what_has_no_room_or_no_row_is_refused():
    p, config = gpt()
    _, cache = gpt_forward(p, random_ids(1, 11), config=config)
    with pytest.raises(ValueError, match=r"ids \(1, 13\) must be \(batch, length ≤ context 12\)"):
        gpt_forward(p, np.array([[1, 2]]), config=config, past=seen_by(cache.decoder))
    read = CachedGPT(p, config)
    with pytest.raises(ValueError, match="span -1 to -1"):
        read([-1])
    with pytest.raises(ValueError, match="no token"):
        read([])
