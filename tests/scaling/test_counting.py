"""§6.1 Counts against arrays that exist and products that are computed."""

import numpy as np
import pytest

from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_init
from numpylm.parameters import leaves
from numpylm.scaling.counting import forward_flops, parameter_counts, training_flops


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


def test_flops_equal_those_of_the_products_of_a_real_forward(monkeypatch):
    config = GPTConfig(vocab_size=11, context=7, n_layers=3, n_heads=2, d_model=6, d_ff=10)
    _, p = gpt_init(0, config)
    p.embedding.tokens.weight = p.embedding.tokens.weight.view(
        CountedArray
    )  # every activation descends from it
    CountedArray.flops = 0
    gpt_forward(p, np.ones((4, 5), np.int64), config=config)
    assert CountedArray.flops == forward_flops(config, batch=4, length=5)["total"]


def test_six_n_d_is_the_count_without_attention():
    config = GPTConfig(vocab_size=65, context=64, bias=False)
    flops = forward_flops(config, batch=12, length=64)
    matrices = parameter_counts(config)["blocks"] + 65 * 128 - 9 * 128  # less the layer norms
    assert 3 * (flops["total"] - flops["attention"]) == 6 * matrices * 12 * 64
    assert training_flops(config, 12, 64) == 3 * flops["total"]
