"""The catalogue: every public forward/backward pair, with example inputs to check it on.

A row of ``PAIRS`` is one pair in one setting; the first word of its name is the function's name
without ``_backward``. A new layer or model adds a row here; a test fails if a public
``*_backward`` has none. The examples close what lets wrong gradients pass elsewhere: sizes differ
pairwise, parameters are of size 0.3 to 1 and γ is not 1, ids repeat and leave out words of the
vocabulary, targets are ignored, dropout is on with a frozen mask, and whole models have two
layers, two heads and tied weights.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from numpylm.fast import attention as fast_attention
from numpylm.fast import cross_entropy as fast_cross_entropy
from numpylm.fast import gelu as fast_gelu
from numpylm.gradcheck.audit import Pair
from numpylm.gradcheck.example_inputs import (
    CONTEXT,
    HEADS,
    B,
    D,
    F,
    S,
    T,
    V,
    answer_spans,
    frozen_dropout,
    padding,
    pair_labels,
    segment_ids,
    source_ids,
    story_places,
    targets,
    token_ids,
    token_labels,
    visible_pairs,
)
from numpylm.gradcheck.rows import (
    bert_row,
    gpt_row,
    head_row,
    llama_row,
    row,
    seq2seq_row,
    textbook_row,
    whole,
)
from numpylm.layers import (
    activations,
    attention,
    cross_entropy,
    dropout,
    embedding,
    feed_forward,
    gated_feed_forward,
    grouped_query,
    input_embedding,
    layer_norm,
    linear,
    multi_head,
    positional,
    recurrent,
    residual,
    rms_norm,
    rotary,
    softmax,
)
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, names
from numpylm.models import bert, decoder, encoder, gpt, heads, llama, seq2seq
from numpylm.objectives import (
    causal,
    denoising,
    exact_match,
    fine_tuning,
    masked,
    next_sentence,
)


def _decoder(model: Any) -> Any:
    return model.decoder


def _encoder(model: Any) -> Any:
    return model.encoder


def _first_layer(model: Any) -> Any:
    return model.decoder.layers[0]


def _first_of_llama(model: Any) -> Any:
    return model.layers[0]


def _first_encoder_layer(model: Any) -> Any:
    return model.encoder.layers[0]


def _bert(rng: np.random.Generator) -> Any:
    sizes: dict[str, Any] = {"n_heads": HEADS, "d_model": D, "d_ff": F}
    return bert.bert_init(1, bert.BERTConfig(vocab_size=V, context=CONTEXT, n_layers=1, **sizes))[1]


def _norm(rng: np.random.Generator, *, bias: bool = True) -> Any:
    return layer_norm.layer_norm_init(D, bias=bias)


X, Y, LOGITS = (B, T, D), (B, S, D), (B, T, V)
Q, K, VALUES = (B, T, 4), (B, S, 4), (B, S, 6)
LINEAR = partial(linear.linear_init, d_in=D, d_out=F)
TABLE = partial(embedding.embedding_init, vocab_size=V, d_model=D)
TABLE_OF_POSITIONS = partial(positional.learned_positions_init, context=CONTEXT, d_model=D)
FEED = partial(feed_forward.feed_forward_init, d_model=D, d_ff=F)
ATTEND = partial(multi_head.multi_head_init, d_model=D)
GROUPED = partial(grouped_query.grouped_query_init, d_model=D, n_heads=6, n_kv_heads=3, d_head=4)
INPUT = partial(input_embedding.input_embedding_init, vocab_size=V, context=CONTEXT, d_model=D)
OTHER = {"norm": "post", "activation": "relu", "positions": "sinusoidal", "tied": False}
LLAMAS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied, biases, interleaved": {"tied": False, "bias": True, "pairing": "interleaved"},
    "norms of queries and keys, window": {"qk_norm": True, "window": 3},
}
BARE = {"bias": False, "positions": "none"}

# fmt: off
PAIRS: list[Pair] = [
    row("linear", linear, LINEAR, X),
    row("linear no bias", linear, partial(LINEAR, bias=False), X),
    row("embedding", embedding, TABLE, token_ids),
    row("unembedding", embedding, TABLE, X),
    row("sinusoidal_positions", positional, None, X),
    row("sinusoidal_positions odd d_model", positional, None, (B, T, 9)),
    row("learned_positions", positional, TABLE_OF_POSITIONS, X),
    row("learned_positions after two tokens", positional, TABLE_OF_POSITIONS, X, first=2),
    row("rotary halves", rotary, None, (B, T, 5), first=2),
    row("rotary interleaved, scaled", rotary, None, (B, T, 6), pairing="interleaved", base=50.0,
        scaling=rotary.Llama3Scaling(factor=4.0, context=20)),
    row("dropout", dropout, None, X, **frozen_dropout("rate")),
    row("layer_norm", layer_norm, _norm, X),
    row("layer_norm no beta", layer_norm, partial(_norm, bias=False), X),
    row("rms_norm", rms_norm, lambda rng: rms_norm.rms_norm_init(D), X),
    row("relu", activations, None, X),
    row("gelu", activations, None, X),
    row("fast_gelu", fast_gelu, None, X, block=9),
    *(row(f"feed_forward {name}", feed_forward, FEED, X, activation=name)
      for name in names(ACTIVATIONS)),
    row("enter pre-norm", residual, _norm, X, norm="pre"),
    row("leave pre-norm + dropout", residual, _norm, X, X, norm="pre", **frozen_dropout()),
    row("leave post-norm", residual, _norm, X, X, norm="post"),
    row("leave post-norm + dropout", residual, _norm, X, X, norm="post", **frozen_dropout()),
    row("tanh", activations, None, X),
    row("recurrent", recurrent, partial(recurrent.recurrent_init, d_in=D, d_model=F), X),
    row("softmax", softmax, None, (B, T, S)),
    row("attention", attention, None, Q, K, VALUES),
    row("attention causal", attention, None, Q, K, VALUES, causal=True),
    row("attention padding", attention, None, Q, K, VALUES, mask=padding(S)[:, None]),
    row("attention causal + mask + dropout", attention, None, Q, K, VALUES,
         causal=True, mask=visible_pairs(), **frozen_dropout()),
    row("attention bias", attention, None, Q, K, VALUES,
         bias=np.linspace(-2, 1, T * S).reshape(T, S)),
    row("attention blind query", attention, None, Q, K, VALUES, mask=visible_pairs(blind=True)),
    row("tiled_attention causal + bias, kept", fast_attention, None, Q, K, VALUES,
         rows=2, causal=True, bias=np.linspace(-2, 1, T * S).reshape(T, S)),
    row("tiled_attention causal + mask, not kept", fast_attention, None, Q, K, VALUES,
         rows=2, keep=0, causal=True, mask=visible_pairs(blind=True)),
    row("multi_head causal + padding + dropout", multi_head, ATTEND, X,
         n_heads=HEADS, causal=True, mask=padding(T), **frozen_dropout()),
    row("multi_head cross + mask", multi_head, ATTEND, X, Y, n_heads=HEADS, mask=visible_pairs()),
    row("fast_attention few keys + dropout", fast_attention, None, Q, K, VALUES,
         **frozen_dropout()),
    row("fast_attention many keys", fast_attention, None, (1, T, 4), (1, 100, 4), (1, 100, 6)),
    row("multi_head fast", multi_head, ATTEND, (1, 97, D),
         n_heads=HEADS, causal=True, implementation="fast"),
    row("silu", gated_feed_forward, None, X),
    row("gated_feed_forward", gated_feed_forward,
        partial(gated_feed_forward.gated_feed_forward_init, d_model=D, d_ff=F), X),
    row("grouped_query padding + window", grouped_query, GROUPED, X, n_heads=6, n_kv_heads=3,
        mask=padding(T), window=3),
    row("grouped_query biases, norms, one head of keys", grouped_query,
        partial(GROUPED, n_kv_heads=1, bias=True, norm=True), X, n_heads=6, n_kv_heads=1,
        rotary={"pairing": "interleaved"}),
    row("grouped_query fast", grouped_query, GROUPED, (1, 97, D), n_heads=6, n_kv_heads=3,
        implementation="fast"),
    row("cross_entropy ignored targets", cross_entropy, None, LOGITS, targets),
    row("cross_entropy smoothed", cross_entropy, None, LOGITS, targets, label_smoothing=0.2),
    row("cross_entropy normalizer", cross_entropy, None, LOGITS, targets, normalizer=40.0),
    row("exact_match ignored targets", exact_match, None, LOGITS, targets),
    row("blocked_cross_entropy", fast_cross_entropy, None, LOGITS, targets),
    replace(row("blocked_cross_entropy in training", fast_cross_entropy, None, LOGITS, targets),
            dy=np.ones(())),
    row("fast_cross_entropy many logits", fast_cross_entropy, None, LOGITS, targets,
         blocked_from=1),
    row("fast_cross_entropy few logits", fast_cross_entropy, None, LOGITS, targets,
         label_smoothing=0.2),
    row("input_embedding learned", input_embedding, partial(INPUT, positions="learned"), token_ids,
         positions="learned", **frozen_dropout()),
    row("input_embedding sinusoidal", input_embedding, partial(INPUT, positions="sinusoidal"),
         token_ids, positions="sinusoidal"),
    row("input_embedding segments + norm", input_embedding,
         partial(INPUT, positions="learned", n_segments=2, norm=True), token_ids, segment_ids,
         positions="learned", **frozen_dropout()),
    row("input_embedding norm, no segments", input_embedding,
         partial(INPUT, positions="sinusoidal", norm=True), token_ids, positions="sinusoidal"),
    bert_row("encoder_layer pre-norm", encoder, X, part=_first_encoder_layer, norm="pre"),
    bert_row("encoder_layer post-norm", encoder, X, part=_first_encoder_layer, activation="relu"),
    gpt_row("decoder_layer pre-norm", decoder, _first_layer, X),
    gpt_row("decoder_layer post-norm", decoder, _first_layer, X, **OTHER),
    seq2seq_row("decoder_layer with memory", decoder, X, Y, part=_first_layer,
                 memory_mask=padding(S)),
    bert_row("encoder pre-norm", encoder, X, part=_encoder, norm="pre"),
    bert_row("encoder post-norm", encoder, X, part=_encoder, activation="relu"),
    gpt_row("decoder pre-norm", decoder, _decoder, X),
    gpt_row("decoder post-norm", decoder, _decoder, X, **OTHER),
    seq2seq_row("decoder with memory", decoder, X, Y, part=_decoder, memory_mask=padding(S)),
    gpt_row("gpt pre-norm, learned, tied", gpt, whole, token_ids),
    gpt_row("gpt post-norm, sinusoidal, untied", gpt, whole, token_ids, **OTHER),
    textbook_row(token_ids),
    gpt_row("causal_lm pre-norm, learned, tied", causal, whole, token_ids, targets),
    gpt_row("causal_lm post-norm, sinusoidal, untied", causal, whole, token_ids, targets,
             **OTHER),
    gpt_row("causal_lm fast", causal, whole, token_ids, targets, implementation="fast"),
    *(gpt_row(f"causal_lm positions {name}", causal, whole, token_ids, targets, positions=name)
      for name in names(POSITIONS)),
    *(gpt_row(f"causal_lm {name} norm", causal, whole, token_ids, targets, normalisation=name)
      for name in names(NORMS)),
    gpt_row("causal_lm no bias, no positions", causal, whole, token_ids, targets, **BARE),
    *(llama_row(f"llama_layer {name}", llama, _first_of_llama, X, **choices)
      for name, choices in LLAMAS.items()),
    *(llama_row(f"llama {name}", llama, whole, token_ids, **choices)
      for name, choices in LLAMAS.items()),
    llama_row("causal_lm llama", causal, whole, token_ids, targets),
    bert_row("bert", bert, token_ids, segment_ids),
    row("pooler", bert, partial(linear.linear_init, d_in=D, d_out=D), X),
    row("masked_head", bert, _bert, X),
    row("masked_loss", masked, _bert, X, targets),
    row("pair_loss", next_sentence, _bert, X, pair_labels),
    bert_row("masked_lm post-norm", masked, token_ids, targets),
    bert_row("masked_lm pre-norm", masked, token_ids, targets, norm="pre"),
    *(bert_row(f"masked_lm positions {name}", masked, token_ids, targets, positions=name)
      for name in names(POSITIONS)),
    bert_row("next_sentence", next_sentence, token_ids, segment_ids, pair_labels),
    bert_row("bert_pretraining", next_sentence, token_ids, segment_ids, targets, pair_labels),
    head_row("classifier of a text", heads, token_ids, segment_ids, pooled=True),
    head_row("classifier of tokens", heads, token_ids, segment_ids, pooled=False),
    head_row("classification of a text", fine_tuning, token_ids, pair_labels, pooled=True),
    head_row("classification of tokens", fine_tuning, token_ids, token_labels, pooled=False,
              dropout=0.0),
    head_row("answering", fine_tuning, token_ids, answer_spans, story_places, pooled=False),
    seq2seq_row("encode", seq2seq, source_ids, source_mask=padding(S)),
    seq2seq_row("decode", seq2seq, Y, token_ids, source_mask=padding(S)),
    seq2seq_row("seq2seq shared", seq2seq, source_ids, token_ids, source_mask=padding(S)),
    seq2seq_row("seq2seq separate, untied, post-norm", seq2seq, source_ids, token_ids,
                 source_mask=padding(S), target_vocab_size=13, **OTHER),
    seq2seq_row("denoising shared", denoising, source_ids, token_ids, targets,
                 source_mask=padding(S)),
    seq2seq_row("denoising separate, tied, learned", denoising, source_ids, token_ids, targets,
                 source_mask=padding(S), target_vocab_size=13, positions="learned",
                 label_smoothing=0.1),
]
# fmt: on
