"""The same language model in PyTorch: the oracle of the parity tests and the rival in benchmarks.

It takes its parameters from our tree under our names, so that a gradient has the same name on both
sides. Development only: nothing in ``numpylm`` imports it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from numpylm.layers.positional import alibi_bias, sinusoidal_encoding
from numpylm.parameters import leaves


def torch_parameters(p) -> dict[str, torch.Tensor]:
    """Leaf tensors that require gradients, by the names of ``numpylm.parameters.leaves``."""
    return {name: torch.tensor(a.copy(), requires_grad=True) for name, a in leaves(p)}


def torch_logits(t: dict[str, torch.Tensor], ids: torch.Tensor, config) -> torch.Tensor:
    """Logits (B, T, V) by autograd's own operations and fused attention."""
    batch, length = ids.shape
    x = F.embedding(ids, t["embedding.tokens.weight"])
    if config.positions == "learned":
        x = x + t["embedding.positions.weight"][:length]
    elif config.positions == "sinusoidal":
        table = sinusoidal_encoding(length, config.d_model)
        x = x * math.sqrt(config.d_model) + torch.tensor(table, dtype=x.dtype)

    def linear(name, x):
        return F.linear(x, t[f"{name}.weight"].T, t.get(f"{name}.bias"))

    def norm(name, x):
        return F.layer_norm(x, (config.d_model,), t[f"{name}.gamma"], t.get(f"{name}.beta"))

    def heads(x):
        return x.view(batch, length, config.n_heads, -1).transpose(1, 2)

    def attend(name, x):
        q, k, v = (heads(linear(f"{name}.{part}", x)) for part in ("query", "key", "value"))
        if config.positions == "alibi":
            bias = alibi_bias(config.n_heads, length, length, scale=config.alibi_scale)
            bias = torch.tensor(bias, dtype=x.dtype)
            bias = bias.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -math.inf)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(f"{name}.output", y.transpose(1, 2).reshape(batch, length, -1))

    def feed(name, x):
        h = linear(f"{name}.hidden", x)
        h = F.gelu(h, approximate="tanh") if config.activation == "gelu" else F.relu(h)
        return linear(f"{name}.output", h)

    for i in range(config.n_layers):
        layer = f"decoder.layers.{i}."
        for part, sublayer in (("self_attention", attend), ("feed_forward", feed)):
            name, norm_name = layer + part, layer + part + "_norm"
            if config.norm == "pre":
                x = x + sublayer(name, norm(norm_name, x))
            else:
                x = norm(norm_name, x + sublayer(name, x))
    if config.norm == "pre":
        x = norm("decoder.norm", x)
    return x @ t["embedding.tokens.weight"].T if config.tied else linear("output", x)


@torch.inference_mode()
def torch_generate(t, ids: torch.Tensor, n_tokens: int, config, temperature: float) -> list[int]:
    """ids (n,) and what follows; a key-value cache, pre-norm, learned positions, tied output.

    One token is read at a time, in as few operations as eager PyTorch takes: the matrices of
    query, key and value stand side by side, and the cache is allocated once.
    """
    assert (config.norm, config.positions, config.tied) == ("pre", "learned", True)
    d_model, n_heads = config.d_model, config.n_heads
    layers = [f"decoder.layers.{i}." for i in range(config.n_layers)]
    qkv = {
        (layer, kind): torch.cat(
            [t[f"{layer}self_attention.{part}.{kind}"] for part in ("query", "key", "value")], -1
        )
        for layer in layers
        for kind in (("weight", "bias") if config.bias else ("weight",))
    }
    past = torch.empty(len(layers), 2, 1, n_heads, config.context, d_model // n_heads)

    def linear(name, x):
        return F.linear(x, t[f"{name}.weight"].T, t.get(f"{name}.bias"))

    def norm(name, x):
        return F.layer_norm(x, (d_model,), t[f"{name}.gamma"], t.get(f"{name}.beta"))

    def step(token, n):
        x = F.embedding(token, t["embedding.tokens.weight"])
        x = x + t["embedding.positions.weight"][n]
        for (keys, values), layer in zip(past, layers, strict=True):
            h = norm(f"{layer}self_attention_norm", x)
            h = F.linear(h, qkv[layer, "weight"].T, qkv.get((layer, "bias")))
            q, k, v = h.view(1, 1, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
            keys[:, :, n : n + 1], values[:, :, n : n + 1] = k, v
            y = F.scaled_dot_product_attention(q, keys[:, :, : n + 1], values[:, :, : n + 1])
            x = x + linear(f"{layer}self_attention.output", y.reshape(1, d_model))
            h = linear(f"{layer}feed_forward.hidden", norm(f"{layer}feed_forward_norm", x))
            h = F.gelu(h, approximate="tanh") if config.activation == "gelu" else F.relu(h)
            x = x + linear(f"{layer}feed_forward.output", h)
        return norm("decoder.norm", x) @ t["embedding.tokens.weight"].T

    seen = ids.tolist()
    for n in range(len(seen) + n_tokens - 1):
        logits = step(torch.tensor([seen[n]]), n)
        if n == len(seen) - 1:
            p = torch.softmax(logits[0] / temperature, dim=-1)
            seen.append(int(p.argmax() if temperature < 1e-3 else torch.multinomial(p, 1)))
    return seen


def torch_loss(t, ids, targets, config, ignore_index: int = -1) -> torch.Tensor:
    """Mean cross-entropy, nats per token."""
    logits = torch_logits(t, ids, config)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignore_index)


def torch_adamw(t: dict[str, torch.Tensor], lr, betas, weight_decay) -> torch.optim.AdamW:
    """AdamW that decays matrices only, as nanoGPT does."""
    groups = [
        {"params": [a for a in t.values() if a.ndim >= 2], "weight_decay": weight_decay},
        {"params": [a for a in t.values() if a.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas)
