"""Our layer against PyTorch's own encoder and decoder layers (``torch.nn.Transformer…Layer``).

Their weights are copied over; outputs and every gradient must agree to 1e-10 in float64.
"""

import warnings

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.config import StackConfig
from numpylm.models.decoder import decoder_init, decoder_layer_backward, decoder_layer_forward
from numpylm.models.encoder import encoder_init, encoder_layer_backward, encoder_layer_forward
from numpylm.parameters import leaves, view

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

B, T, S, D, F, H = 3, 5, 7, 8, 12, 2
OURS_TO_TORCH = {
    "self_attention.output.weight": "self_attn.out_proj.weight",
    "self_attention.output.bias": "self_attn.out_proj.bias",
    "cross_attention.output.weight": "multihead_attn.out_proj.weight",
    "cross_attention.output.bias": "multihead_attn.out_proj.bias",
    "feed_forward.hidden.weight": "linear1.weight",
    "feed_forward.hidden.bias": "linear1.bias",
    "feed_forward.output.weight": "linear2.weight",
    "feed_forward.output.bias": "linear2.bias",
}


def copy_weights(p, layer, cross):
    """Our parameters into theirs; returns a function from our names to their gradients."""
    names = dict(leaves(p))
    theirs = dict(layer.named_parameters())
    where = dict(OURS_TO_TORCH)
    for norm, number in zip(
        ("self_attention", *(("cross_attention",) if cross else ()), "feed_forward"),
        (1, 2, 3),
        strict=False,
    ):
        where[f"{norm}_norm.gamma"] = f"norm{number}.weight"
        where[f"{norm}_norm.beta"] = f"norm{number}.bias"
    slices = {}
    for ours, torchs in (("self_attention", "self_attn"), ("cross_attention", "multihead_attn")):
        for i, part in enumerate(("query", "key", "value")):
            rows = slice(i * D, (i + 1) * D)
            slices[f"{ours}.{part}.weight"] = (f"{torchs}.in_proj_weight", rows)
            slices[f"{ours}.{part}.bias"] = (f"{torchs}.in_proj_bias", rows)

    def place(name):
        tensor, rows = slices[name] if name in slices else (where[name], slice(None))
        return theirs[tensor], rows

    with torch.no_grad():
        for name, a in names.items():
            tensor, rows = place(name)
            tensor[rows] = torch.tensor(a.T if a.ndim == 2 else a)

    def gradient(name):
        tensor, rows = place(name)
        g = tensor.grad[rows].numpy()
        return g.T if g.ndim == 2 else g

    return gradient


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_layer_equals_pytorchs(rng, norm, activation, kind):
    cross = kind == "decoder"
    config = StackConfig(n_layers=1, n_heads=H, d_model=D, d_ff=F, norm=norm, activation=activation)
    stack = decoder_init(rng, config, cross=True) if cross else encoder_init(rng, config)
    theta, p = jittered(stack.layers[0], rng)
    cls = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    gelu = torch.nn.GELU(approximate="tanh")
    layer = cls(
        D, H, F, dropout=0.0, activation=gelu if activation == "gelu" else "relu",
        batch_first=True, norm_first=norm == "pre", dtype=torch.float64,
    )  # fmt: skip
    gradient = copy_weights(p, layer, cross)

    x, memory = rng.standard_normal((B, T, D)), rng.standard_normal((B, S, D))
    dy = rng.standard_normal((B, T, D))
    mask = np.arange(T) < np.array([[5], [3], [4]])
    memory_mask = np.arange(S) < np.array([[6], [7], [2]])
    tx, tm = (torch.tensor(a, requires_grad=True) for a in (x, memory))
    if cross:
        inputs = (x, memory)
        settings = {"memory_mask": memory_mask}
        future = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
        expected = layer(
            tx, tm, tgt_mask=future, memory_key_padding_mask=torch.tensor(~memory_mask)
        )
    else:
        inputs = (x,)
        settings = {"mask": mask}
        expected = layer(tx, src_key_padding_mask=torch.tensor(~mask))
    expected.backward(torch.tensor(dy))

    forward = decoder_layer_forward if cross else encoder_layer_forward
    y, cache = forward(p, *inputs, config=config, **settings)
    dp = view(p, np.zeros_like(theta))
    d = (decoder_layer_backward if cross else encoder_layer_backward)(p, dp, dy, cache)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(d if cross else (d,), (tx, tm), strict=False):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-10)
    for name, a in leaves(dp):
        np.testing.assert_allclose(a, gradient(name), rtol=1e-10, atol=1e-10, err_msg=name)
