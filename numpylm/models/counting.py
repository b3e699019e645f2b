"""§6.1 Counting the parameters and the operations of all models, and what C ≈ 6 N D leaves out.

A matrix product (m × k) · (k × n) is 2 m k n FLOPs. A forward pass of n tokens has

    projections      2 · 4 D²       per token and layer (W_Q, W_K, W_V, W_O)
    attention        2 · 2 T D      per token and layer (Q Kᵀ and A V), T the tokens looked at
    feed-forward     2 · 2 D d_ff   per token and layer
    output           2 · D V        per token that is predicted, and what else the head multiplies

and the backward twice as many: one product for the gradient of each factor. Reading a row of the
embedding is no product and costs nothing; element-wise work (softmax, layer norm, GELU) is not
counted, as is usual. Attention is counted in full, as Hoffmann et al. 2022 (arXiv:2203.15556, App.
F) do; Kaplan et al. 2020 (arXiv:2001.08361, Table 1) count the half of it that a causal mask
leaves.

"The" number of parameters N has three meanings, and fitted exponents differ by which is used:

    without embeddings    the blocks alone                          Kaplan
    with the head         blocks and output matrix, also if tied    what each token is multiplied by
    total                 every number that is trained              Chinchilla

6 N D with the second is the exact count but for attention, biases and layer norms.
"""

from __future__ import annotations

from typing import Any

from numpylm.layers.choices import NORMS, POSITIONS
from numpylm.models.bert import BERTConfig
from numpylm.models.gpt import GPTConfig
from numpylm.models.heads import ClassifierConfig
from numpylm.models.llama import LlamaConfig
from numpylm.models.seq2seq import Seq2SeqConfig


def parameter_counts(config: Any) -> dict[str, int]:
    """Parameters by group: token embedding, positions, blocks, output; and their total.

    ``config`` is that of a language model, a BERT with or without its heads, or an
    encoder-decoder. BERT's segments and the layer norm of its embedding count as positions, its
    pooler and heads as output.
    """
    d, vocab_size = config.d_model, config.vocab_size
    if isinstance(config, LlamaConfig):
        output = 0 if config.tied else vocab_size * d
        return _summed(vocab_size * d, 0, _llama_parameters(config), output)
    positions = POSITIONS[config.positions].n_parameters(config.context, d)
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
    norm = NORMS[config.normalisation].n_parameters(d, bias)
    layer = (1 + cross) * attention + feed_forward + (2 + cross) * norm
    return config.n_layers * layer + (norm if config.norm == "pre" else 0)


def _llama_parameters(c: LlamaConfig) -> int:
    """Grouped queries, SwiGLU and RMSNorm, with what its relatives add."""
    queries, keys = c.n_heads * c.d_head, c.n_kv_heads * c.d_head
    attention = 2 * c.d_model * (queries + keys) + c.bias * (queries + 2 * keys)
    layer = attention + 2 * c.qk_norm * c.d_head + 3 * c.d_model * c.d_ff + 2 * c.d_model
    return c.n_layers * layer + c.d_model


def _summed(embedding: int, positions: int, blocks: int, output: int) -> dict[str, int]:
    counts = {"embedding": embedding, "positions": positions, "blocks": blocks, "output": output}
    return counts | {"total": sum(counts.values())}


def sizes(config: Any) -> dict[str, int]:
    """N in its three meanings: ``without_embeddings``, ``with_head``, ``total``."""
    counts = parameter_counts(config)
    shared = 0  # the token table, where it is the output matrix too
    if isinstance(config, BERTConfig) or getattr(config, "tied", False):
        own = getattr(config, "target_vocab_size", None)
        shared = (own or config.vocab_size) * config.d_model
    if isinstance(config, ClassifierConfig):
        shared = 0
    return {
        "without_embeddings": counts["blocks"],
        "with_head": counts["blocks"] + counts["output"] + shared,
        "total": counts["total"],
    }


def forward_flops(
    config: Any,
    batch: int,
    length: int,
    *,
    source_length: int | None = None,
    predicted: int | None = None,
    pairs: int = 0,
) -> dict[str, int]:
    """FLOPs of the matrix products of one forward pass, by part, and their total.

    length: tokens of a sequence (T), of the target in an encoder-decoder, whose source has
    ``source_length`` (S, default T). predicted: positions of the whole batch that go through the
    output matrix; by default all, but 15 % of them in BERT. pairs: next-sentence predictions.
    """
    tokens = batch * length
    if isinstance(config, Seq2SeqConfig):
        encoded = length if source_length is None else source_length
        flops = _stack_flops(config, batch, encoded)
        for part, count in _stack_flops(config, batch, length, memory=encoded).items():
            flops[part] += count
    else:
        flops = _stack_flops(config, batch, length)
    flops["output"] = _output_flops(config, batch, tokens, predicted, pairs)
    return flops | {"total": sum(flops.values())}


def _stack_flops(
    config: Any, batch: int, length: int, *, memory: int | None = None
) -> dict[str, int]:
    """A stack of layers on (batch, length), with encoder-decoder attention to ``memory`` tokens."""
    tokens, d, layers = batch * length, config.d_model, config.n_layers
    if isinstance(config, LlamaConfig):
        queries, keys = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
        return {
            "projections": layers * tokens * 4 * d * (queries + keys),
            "attention": layers * tokens * 4 * length * queries,
            "feed_forward": layers * tokens * 6 * d * config.d_ff,
        }
    flops = {
        "projections": layers * tokens * 8 * d * d,
        "attention": layers * tokens * 4 * length * d,
        "feed_forward": layers * tokens * 4 * d * config.d_ff,
    }
    if memory is not None:  # queries and output of the target, keys and values of the source
        flops["projections"] += layers * (tokens + batch * memory) * 4 * d * d
        flops["attention"] += layers * tokens * 4 * memory * d
    return flops


def _output_flops(config: Any, batch: int, tokens: int, predicted: int | None, pairs: int) -> int:
    d = config.d_model
    if isinstance(config, ClassifierConfig):
        rows = batch if config.pooled else tokens
        return rows * 2 * d * config.n_labels + config.pooled * batch * 2 * d * d
    if isinstance(config, BERTConfig):
        masked = round(0.15 * tokens) if predicted is None else predicted
        return masked * 2 * d * (d + config.vocab_size) + pairs * 2 * d * (d + 2)
    rows = tokens if predicted is None else predicted
    return rows * 2 * d * (getattr(config, "target_vocab_size", None) or config.vocab_size)


def training_flops(config: Any, batch: int, length: int, **settings: Any) -> int:
    """FLOPs of one training step: the forward and, twice as many, the backward.

    ``settings`` as in ``forward_flops``.
    """
    return 3 * forward_flops(config, batch, length, **settings)["total"]


def six_nd(config: Any, length: int, **settings: Any) -> dict[str, float]:
    """The relative error of 6 N D against the exact training FLOPs, for each meaning of N.

    D counts the tokens of a sequence (the target's, in an encoder-decoder).
    """
    exact = training_flops(config, 1, length, **settings)
    return {name: 6.0 * n * length / exact - 1.0 for name, n in sizes(config).items()}
