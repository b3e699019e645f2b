"""§6.1 Counting the parameters of all models, and the operations of the language model.

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

from typing import Any

from numpylm.models.bert import BERTConfig
from numpylm.models.gpt import GPTConfig
from numpylm.models.heads import ClassifierConfig
from numpylm.models.seq2seq import Seq2SeqConfig


def parameter_counts(config: Any) -> dict[str, int]:
    """Parameters by group: token embedding, positions, blocks, output; and their total.

    ``config`` is that of a language model, a BERT with or without its heads, or an
    encoder-decoder. BERT's segments and the layer norm of its embedding count as positions, its
    pooler and heads as output.
    """
    d, vocab_size = config.d_model, config.vocab_size
    positions = config.context * d if config.positions == "learned" else 0
    if isinstance(config, GPTConfig):
        output = 0 if config.tied else vocab_size * (d + config.bias)
        return _summed(vocab_size * d, positions, stack_parameters(config), output)
    if isinstance(config, BERTConfig):
        embedding_extra = config.n_segments * d + 2 * d
        dense = d * (d + 1)
        if isinstance(config, ClassifierConfig):
            output = config.pooled * dense + config.n_labels * (d + 1)
        else:
            output = 2 * dense + 2 * d + vocab_size + 2 * (d + 1)
        blocks = stack_parameters(config)
        return _summed(vocab_size * d, positions + embedding_extra, blocks, output)
    return _seq2seq_counts(config, positions)


def _seq2seq_counts(config: Seq2SeqConfig, positions: int) -> dict[str, int]:
    d, own = config.d_model, config.target_vocab_size
    tables = 1 if own is None else 2
    target_size = own or config.vocab_size
    blocks = stack_parameters(config) + stack_parameters(config, cross=True)
    output = 0 if config.tied else target_size * (d + config.bias)
    return _summed((config.vocab_size + (own or 0)) * d, tables * positions, blocks, output)


def stack_parameters(config: Any, *, cross: bool = False) -> int:
    """Parameters of a stack of layers, with encoder-decoder attention if ``cross``."""
    d, bias = config.d_model, config.bias
    attention = 4 * d * d + 4 * d * bias
    feed_forward = 2 * d * config.d_ff + bias * (d + config.d_ff)
    norm = d * (1 + bias)
    layer = (1 + cross) * attention + feed_forward + (2 + cross) * norm
    return config.n_layers * layer + (norm if config.norm == "pre" else 0)


def _summed(embedding: int, positions: int, blocks: int, output: int) -> dict[str, int]:
    counts = {"embedding": embedding, "positions": positions, "blocks": blocks, "output": output}
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
