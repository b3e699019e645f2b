"""§6.1 Counting the parameters and the floating-point operations of the language model.

A matrix product (m × k) · (k × n) is 2 m k n FLOPs. For B sequences of T tokens a forward pass has

    projections      2 · 4 D²       per token and layer (W_Q, W_K, W_V, W_O)
    attention        2 · 2 T D      per token and layer (Q Kᵀ and A V)
    feed-forward     2 · 2 D d_ff   per token and layer
    output           2 · D V        per token

and the backward twice as many: one product for the gradient of each factor. Element-wise work
(softmax, layer norm, GELU) is not counted, as is usual. The well-known C ≈ 6 N D is this sum
without the attention term, N being the parameters of the layers' and the output's matrices and D
the tokens. Attention is counted in full, as Hoffmann et al. 2022 (arXiv:2203.15556, App. F) do;
Kaplan et al. 2020 (arXiv:2001.08361, Table 1) count the half of it that a causal mask leaves.
"""

from __future__ import annotations

from numpylm.models.gpt import GPTConfig


def parameter_counts(config: GPTConfig) -> dict[str, int]:
    """Parameters by group: token embedding, positions, blocks, output; and their total."""
    d, bias = config.d_model, config.bias
    linear = 4 * d * d + 2 * d * config.d_ff + bias * (5 * d + config.d_ff)
    norm = d * (1 + bias)
    final_norm = norm if config.norm == "pre" else 0
    counts = {
        "embedding": config.vocab_size * d,
        "positions": config.context * d if config.positions == "learned" else 0,
        "blocks": config.n_layers * (linear + 2 * norm) + final_norm,
        "output": 0 if config.tied else config.vocab_size * (d + bias),
    }
    return counts | {"total": sum(counts.values())}


def forward_flops(config: GPTConfig, batch: int, length: int) -> dict[str, int]:
    """FLOPs of the matrix products of one forward pass, by part, and their total."""
    tokens, d = batch * length, config.d_model
    flops = {
        "projections": config.n_layers * tokens * 8 * d * d,
        "attention": config.n_layers * tokens * 4 * length * d,
        "feed_forward": config.n_layers * tokens * 4 * d * config.d_ff,
        "output": tokens * 2 * d * config.vocab_size,
    }
    return flops | {"total": sum(flops.values())}


def training_flops(config: GPTConfig, batch: int, length: int) -> int:
    """FLOPs of one training step: the forward and, twice as many, the backward."""
    return 3 * forward_flops(config, batch, length)["total"]
