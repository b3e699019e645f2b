"""§6.1 Counts against arrays that exist and products that are computed."""

import numpy as np
import pytest

from numpylm.layers.choices import NORMS, POSITIONS, names
from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.counting import forward_flops, parameter_counts, six_nd, sizes, training_flops
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_backward, seq2seq_forward, seq2seq_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.objectives.fine_tuning import classification_backward, classification_forward
from numpylm.objectives.masked import masked_lm_backward, masked_lm_forward
from numpylm.objectives.next_sentence import bert_pretraining_backward, bert_pretraining_forward
from numpylm.parameters import leaves, view
from numpylm.scaling.experiment.family import record


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("norm", "positions"), [("pre", "learned"), ("post", "sinusoidal")])
def test_parameters_equal_the_size_of_the_arrays(tied, bias, norm, positions):
    config = GPTConfig(
        vocab_size=11, context=7, n_layers=3, n_heads=2, d_model=6, d_ff=10,
        tied=tied, bias=bias, norm=norm, positions=positions,
    )  # fmt: skip
    theta, _ = gpt_init(0, config)
    counts = parameter_counts(config)
    assert counts["total"] == theta.size == sum(counts.values()) - counts["total"]


SIZES = {"vocab_size": 11, "context": 7, "n_layers": 3, "n_heads": 2, "d_model": 6, "d_ff": 10}
SHAPES = [
    {"norm": "pre", "positions": "learned", "bias": True},
    {"norm": "post", "positions": "sinusoidal", "bias": False},
    {"norm": "pre", "positions": "alibi", "bias": False},
    *({"normalisation": name, "bias": False} for name in names(NORMS)),
    *({"positions": name} for name in names(POSITIONS)),
]


def parts(p):
    """Parameters of a model by group, counted from the names of its arrays."""
    found = {"embedding": 0, "positions": 0, "blocks": 0, "output": 0}
    for name, array in leaves(p):
        words = name.removeprefix("trunk.").split(".")
        if words[0] in ("embedding", "source", "target"):
            found["embedding" if words[1] == "tokens" else "positions"] += array.size
        else:
            found["blocks" if words[0] in ("encoder", "decoder") else "output"] += array.size
    return found | {"total": sum(found.values())}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_groups_of_every_architecture_are_those_of_its_arrays(shape):
    models = [
        (bert_init, BERTConfig(**SIZES, **shape)),
        (bert_init, BERTConfig(**SIZES, **shape, n_segments=3)),
        *((classifier_init, ClassifierConfig(**SIZES, **shape, n_labels=n, pooled=pooled))
          for n in (2, 5) for pooled in (True, False)),
        *((gpt_init, GPTConfig(**SIZES, **shape, tied=tied)) for tied in (True, False)),
        *((seq2seq_init, Seq2SeqConfig(**SIZES, **shape, tied=tied, target_vocab_size=own))
          for tied in (True, False) for own in (None, 13)),
    ]  # fmt: skip
    for init, config in models:
        theta, p = init(0, config)
        counts = parameter_counts(config)
        assert counts == parts(p), config
        assert counts["total"] == theta.size


class CountedArray(np.ndarray):
    """An array that adds up the FLOPs of the matrix products it takes part in."""

    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        plain = [np.asarray(x) if isinstance(x, CountedArray) else x for x in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(np.asarray(x) for x in kwargs["out"])
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            CountedArray.flops += 2 * result.size * plain[0].shape[-1]
        return result.view(CountedArray) if isinstance(result, np.ndarray) else result


def counted_step(init, forward, backward, config, *inputs):
    """FLOPs of all products of a real forward, and of the backward after it."""
    theta, p = init(0, config)
    counted = view(p, theta.view(CountedArray))  # every activation descends from a parameter
    dp = view(p, np.zeros_like(theta))
    CountedArray.flops = 0
    loss, cache = forward(counted, *inputs, config=config)
    there = CountedArray.flops
    backward(counted, dp, np.ones_like(loss), cache)
    return there, CountedArray.flops - there


IDS, TARGETS = np.arange(20).reshape(4, 5) % 11, np.arange(1, 21).reshape(4, 5) % 11
SOURCE = np.arange(24).reshape(4, 6) % 11
MASKED = np.where(np.arange(20).reshape(4, 5) % 7 == 2, TARGETS, -1)  # three positions
LABELS = np.array([0, 1, 1, 0])
STEPS = {
    "causal": (gpt_init, causal_lm_forward, causal_lm_backward, GPTConfig,
               (IDS, TARGETS), {}, {}),
    "causal, untied": (gpt_init, causal_lm_forward, causal_lm_backward, GPTConfig,
                       (IDS, TARGETS), {"tied": False}, {}),
    "masked": (bert_init, masked_lm_forward, masked_lm_backward, BERTConfig,
               (IDS, MASKED), {}, {"predicted": 3}),
    "masked and pairs": (bert_init, bert_pretraining_forward, bert_pretraining_backward,
                         BERTConfig, (IDS, np.zeros_like(IDS), MASKED, LABELS), {},
                         {"predicted": 3, "pairs": 4}),
    "classification": (classifier_init, classification_forward, classification_backward,
                       ClassifierConfig, (IDS, LABELS), {"n_labels": 3}, {}),
    "labelling": (classifier_init, classification_forward, classification_backward,
                  ClassifierConfig, (IDS, TARGETS % 3), {"n_labels": 3, "pooled": False}, {}),
    "encoder-decoder": (seq2seq_init, seq2seq_forward, seq2seq_backward, Seq2SeqConfig,
                        (SOURCE, IDS), {"target_vocab_size": 13}, {"source_length": 6}),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_flops_equal_those_of_the_products_of_a_real_step(name):
    init, forward, backward, kind, inputs, extra, settings = STEPS[name]
    config = kind(**SIZES, **extra)
    there, back = counted_step(init, forward, backward, config, *inputs)
    assert there == forward_flops(config, 4, 5, **settings)["total"]
    assert back == 2 * there
    assert there + back == training_flops(config, 4, 5, **settings)


@pytest.mark.parametrize("tied", [True, False])
def test_the_three_meanings_of_n(tied):
    config = GPTConfig(**SIZES, tied=tied, bias=False)
    _, p = gpt_init(0, config)
    multiplied = sum(
        a.size for name, a in leaves(p)
        if name.endswith("weight") and (tied or "tokens" not in name) and "positions" not in name
    )  # fmt: skip
    norms = sum(a.size for name, a in leaves(p) if name.endswith("gamma"))
    n = sizes(config)
    assert n["with_head"] == multiplied + norms
    assert n["without_embeddings"] == parts(p)["blocks"]
    assert n["total"] == sum(a.size for _, a in leaves(p))


def test_the_error_of_six_n_d_is_the_share_of_attention():
    """For a wide model and a short context 6 N D is right, for a narrow one it is not."""
    wide = GPTConfig(vocab_size=1000, context=64, d_model=1024, n_heads=8, d_ff=4096, n_layers=4)
    narrow = GPTConfig(vocab_size=96, context=256, d_model=16, n_heads=1, d_ff=64, n_layers=1)
    assert abs(six_nd(wide, 64)["with_head"]) < 0.02
    flops = forward_flops(narrow, 1, 256)
    error = six_nd(narrow, 256)["with_head"]
    assert flops["attention"] / flops["total"] == pytest.approx(0.64, abs=0.02)
    assert error == pytest.approx(-flops["attention"] / flops["total"], abs=0.03)
    assert six_nd(narrow, 256)["without_embeddings"] < error


def test_a_record_carries_every_count():
    config = GPTConfig(**SIZES)
    found = record(config, 1000.0, 5)
    assert found["C"] == training_flops(config, 1, 5) * 200
    assert found["C_6ND"] == 6 * found["N"] * 1000
    assert found["N_without_embeddings"] < found["N"] <= found["N_total"]


def test_six_n_d_is_the_count_without_attention():
    config = GPTConfig(vocab_size=65, context=64, bias=False)
    flops = forward_flops(config, batch=12, length=64)
    matrices = parameter_counts(config)["blocks"] + 65 * 128 - 9 * 128  # less the layer norms
    assert 3 * (flops["total"] - flops["attention"]) == 6 * matrices * 12 * 64
    assert training_flops(config, 12, 64) == 3 * flops["total"]
