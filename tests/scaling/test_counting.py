"""§6.1 Counts against arrays that exist and products that are computed."""

import numpy as np
import pytest

from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
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
