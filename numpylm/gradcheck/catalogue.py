"""The catalogue: every public forward/backward pair, with example inputs to check it on.

A row of ``PAIRS`` is one pair in one setting; the first word of its name is the function's name
without ``_backward``. A new layer or model adds a row here; a test fails if a public
``*_backward`` has none. The examples close what lets wrong gradients pass elsewhere: sizes differ
pairwise, parameters are of size 0.3 to 1 and γ is not 1, ids repeat and leave out words of the
vocabulary, targets are ignored, dropout is on with a frozen mask, and whole models have two
layers, two heads and tied weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from numpylm.fast import attention as fast_attention
from numpylm.fast import cross_entropy as fast_cross_entropy
from numpylm.fast import gelu as fast_gelu
from numpylm.fast import layer_norm as fast_layer_norm
from numpylm.gradcheck.audit import Example, Pair
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
    jittered,
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
from numpylm.gradcheck.sections import section_of
from numpylm.layers import (
    activations,
    attention,
    cross_entropy,
    dropout,
    embedding,
    feed_forward,
    input_embedding,
    layer_norm,
    linear,
    multi_head,
    positional,
    recurrent,
    residual,
    softmax,
)
from numpylm.models import bert, decoder, encoder, gpt, heads, seq2seq
from numpylm.objectives import causal, denoising, fine_tuning, masked, next_sentence


def _row(name: str, module: Any, tree: Any, *inputs: Any, **settings: Any) -> Pair:
    """The pair that a module has under the first word of the name, with its section.

    tree: ``rng -> parameters``, which are then jittered, or None for a pair without parameters.
    inputs: shapes to fill with normal numbers, or ``rng -> array``.
    """

    def example(rng: np.random.Generator) -> Example:
        p = None
        if tree is not None:
            _, p = jittered(tree(rng), rng)
        filled = [x(rng) if callable(x) else rng.standard_normal(x) for x in inputs]
        return p, tuple(filled), settings

    function = name.split()[0]
    forward, backward = (getattr(module, f"{function}_{way}") for way in ("forward", "backward"))
    return Pair(name, f"§{section_of(module.__name__)}", forward, backward, example)


def _model_row(
    name: str, module: Any, init: Callable, part: Callable, *inputs: Any, **choices: Any
) -> Pair:
    """A row for a whole model, or for the part of it that ``part(model)`` picks.

    ``init`` is the model's init function; choices that are not settings of its config, and masks,
    go to the forward.
    """
    sizes = {"vocab_size": V, "context": CONTEXT, "n_heads": HEADS, "d_model": D, "d_ff": F}
    config_class = CONFIGS[init]
    known = {f.name for f in fields(config_class)}
    chosen = {name: value for name, value in choices.items() if name in known}
    settings = {name: value for name, value in choices.items() if name not in known}
    config = config_class(**{"n_layers": 2, "dropout": 0.2, **sizes, **chosen})
    settings |= {"config": config, "rng": np.random.default_rng(2)}
    return _row(name, module, lambda rng: part(init(1, config)[1]), *inputs, **settings)


def _gpt_row(name: str, module: Any, part: Callable, *inputs: Any, **choices: Any) -> Pair:
    return _model_row(name, module, gpt.gpt_init, part, *inputs, mask=padding(T), **choices)


def _bert_row(name: str, module: Any, *inputs: Any, **choices: Any) -> Pair:
    part = choices.pop("part", _whole)
    return _model_row(name, module, bert.bert_init, part, *inputs, mask=padding(T), **choices)


def _head_row(name: str, module: Any, *inputs: Any, pooled: bool, **choices: Any) -> Pair:
    return _model_row(name, module, heads.classifier_init, _whole, *inputs, mask=padding(T),
                      n_labels=2, pooled=pooled, **choices)  # fmt: skip


def _seq2seq_row(name: str, module: Any, *inputs: Any, **choices: Any) -> Pair:
    part = choices.pop("part", _whole)
    return _model_row(name, module, seq2seq.seq2seq_init, part, *inputs, **choices)


def _whole(model: Any) -> Any:
    return model


_decoder, _encoder = attrgetter("decoder"), attrgetter("encoder")


def _first_layer(model: Any) -> Any:
    return model.decoder.layers[0]


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
POSITIONS = partial(positional.learned_positions_init, context=CONTEXT, d_model=D)
FEED = partial(feed_forward.feed_forward_init, d_model=D, d_ff=F)
ATTEND = partial(multi_head.multi_head_init, d_model=D)
INPUT = partial(input_embedding.input_embedding_init, vocab_size=V, context=CONTEXT, d_model=D)
CONFIGS = {
    gpt.gpt_init: gpt.GPTConfig,
    bert.bert_init: bert.BERTConfig,
    heads.classifier_init: heads.ClassifierConfig,
    seq2seq.seq2seq_init: seq2seq.Seq2SeqConfig,
}
OTHER = {"norm": "post", "activation": "relu", "positions": "sinusoidal", "tied": False}
BARE = {"bias": False, "positions": "none"}

# fmt: off
PAIRS: list[Pair] = [
    _row("linear", linear, LINEAR, X),
    _row("linear no bias", linear, partial(LINEAR, bias=False), X),
    _row("embedding", embedding, TABLE, token_ids),
    _row("unembedding", embedding, TABLE, X),
    _row("sinusoidal_positions", positional, None, X),
    _row("sinusoidal_positions odd d_model", positional, None, (B, T, 9)),
    _row("learned_positions", positional, POSITIONS, X),
    _row("learned_positions after two tokens", positional, POSITIONS, X, first=2),
    _row("dropout", dropout, None, X, **frozen_dropout("rate")),
    _row("layer_norm", layer_norm, _norm, X),
    _row("layer_norm no beta", layer_norm, partial(_norm, bias=False), X),
    _row("fast_layer_norm", fast_layer_norm, _norm, X),
    _row("fast_layer_norm no beta", fast_layer_norm, partial(_norm, bias=False), X),
    _row("relu", activations, None, X),
    _row("gelu", activations, None, X),
    _row("fast_gelu", fast_gelu, None, X, block=9),
    _row("feed_forward relu", feed_forward, FEED, X, activation="relu"),
    _row("feed_forward gelu", feed_forward, FEED, X, activation="gelu"),
    _row("enter pre-norm", residual, _norm, X, norm="pre"),
    _row("leave pre-norm + dropout", residual, _norm, X, X, norm="pre", **frozen_dropout()),
    _row("leave post-norm", residual, _norm, X, X, norm="post"),
    _row("leave post-norm + dropout", residual, _norm, X, X, norm="post", **frozen_dropout()),
    _row("tanh", activations, None, X),
    _row("recurrent", recurrent, partial(recurrent.recurrent_init, d_in=D, d_model=F), X),
    _row("softmax", softmax, None, (B, T, S)),
    _row("attention", attention, None, Q, K, VALUES),
    _row("attention causal", attention, None, Q, K, VALUES, causal=True),
    _row("attention padding", attention, None, Q, K, VALUES, mask=padding(S)[:, None]),
    _row("attention causal + mask + dropout", attention, None, Q, K, VALUES,
         causal=True, mask=visible_pairs(), **frozen_dropout()),
    _row("attention bias", attention, None, Q, K, VALUES,
         bias=np.linspace(-2, 1, T * S).reshape(T, S)),
    _row("attention blind query", attention, None, Q, K, VALUES, mask=visible_pairs(blind=True)),
    _row("tiled_attention causal + bias, kept", fast_attention, None, Q, K, VALUES,
         rows=2, causal=True, bias=np.linspace(-2, 1, T * S).reshape(T, S)),
    _row("tiled_attention causal + mask, not kept", fast_attention, None, Q, K, VALUES,
         rows=2, keep=0, causal=True, mask=visible_pairs(blind=True)),
    _row("multi_head causal + padding + dropout", multi_head, ATTEND, X,
         n_heads=HEADS, causal=True, mask=padding(T), **frozen_dropout()),
    _row("multi_head cross + mask", multi_head, ATTEND, X, Y, n_heads=HEADS, mask=visible_pairs()),
    _row("fast_attention few keys + dropout", fast_attention, None, Q, K, VALUES,
         **frozen_dropout()),
    _row("fast_attention many keys", fast_attention, None, (1, T, 4), (1, 100, 4), (1, 100, 6)),
    _row("multi_head fast", multi_head, ATTEND, (1, 97, D),
         n_heads=HEADS, causal=True, implementation="fast"),
    _row("cross_entropy ignored targets", cross_entropy, None, LOGITS, targets),
    _row("cross_entropy smoothed", cross_entropy, None, LOGITS, targets, label_smoothing=0.2),
    _row("cross_entropy normalizer", cross_entropy, None, LOGITS, targets, normalizer=40.0),
    _row("blocked_cross_entropy", fast_cross_entropy, None, LOGITS, targets),
    replace(_row("blocked_cross_entropy in training", fast_cross_entropy, None, LOGITS, targets),
            dy=np.ones(())),
    _row("fast_cross_entropy many logits", fast_cross_entropy, None, LOGITS, targets,
         blocked_from=1),
    _row("fast_cross_entropy few logits", fast_cross_entropy, None, LOGITS, targets,
         label_smoothing=0.2),
    _row("input_embedding learned", input_embedding, partial(INPUT, positions="learned"), token_ids,
         positions="learned", **frozen_dropout()),
    _row("input_embedding sinusoidal", input_embedding, partial(INPUT, positions="sinusoidal"),
         token_ids, positions="sinusoidal"),
    _row("input_embedding segments + norm", input_embedding,
         partial(INPUT, positions="learned", n_segments=2, norm=True), token_ids, segment_ids,
         positions="learned", **frozen_dropout()),
    _row("input_embedding norm, no segments", input_embedding,
         partial(INPUT, positions="sinusoidal", norm=True), token_ids, positions="sinusoidal"),
    _bert_row("encoder_layer pre-norm", encoder, X, part=_first_encoder_layer, norm="pre"),
    _bert_row("encoder_layer post-norm", encoder, X, part=_first_encoder_layer, activation="relu"),
    _gpt_row("decoder_layer pre-norm", decoder, _first_layer, X),
    _gpt_row("decoder_layer post-norm", decoder, _first_layer, X, **OTHER),
    _seq2seq_row("decoder_layer with memory", decoder, X, Y, part=_first_layer,
                 memory_mask=padding(S)),
    _bert_row("encoder pre-norm", encoder, X, part=_encoder, norm="pre"),
    _bert_row("encoder post-norm", encoder, X, part=_encoder, activation="relu"),
    _gpt_row("decoder pre-norm", decoder, _decoder, X),
    _gpt_row("decoder post-norm", decoder, _decoder, X, **OTHER),
    _seq2seq_row("decoder with memory", decoder, X, Y, part=_decoder, memory_mask=padding(S)),
    _gpt_row("gpt pre-norm, learned, tied", gpt, _whole, token_ids),
    _gpt_row("gpt post-norm, sinusoidal, untied", gpt, _whole, token_ids, **OTHER),
    _gpt_row("causal_lm pre-norm, learned, tied", causal, _whole, token_ids, targets),
    _gpt_row("causal_lm post-norm, sinusoidal, untied", causal, _whole, token_ids, targets,
             **OTHER),
    _gpt_row("causal_lm fast", causal, _whole, token_ids, targets, implementation="fast"),
    _gpt_row("causal_lm alibi", causal, _whole, token_ids, targets, positions="alibi"),
    _gpt_row("causal_lm no bias, no positions", causal, _whole, token_ids, targets, **BARE),
    _bert_row("bert", bert, token_ids, segment_ids),
    _row("pooler", bert, partial(linear.linear_init, d_in=D, d_out=D), X),
    _row("masked_head", bert, _bert, X),
    _row("masked_loss", masked, _bert, X, targets),
    _row("pair_loss", next_sentence, _bert, X, pair_labels),
    _bert_row("masked_lm post-norm", masked, token_ids, targets),
    _bert_row("masked_lm pre-norm", masked, token_ids, targets, norm="pre"),
    _bert_row("masked_lm alibi both ways", masked, token_ids, targets, positions="alibi"),
    _bert_row("next_sentence", next_sentence, token_ids, segment_ids, pair_labels),
    _bert_row("bert_pretraining", next_sentence, token_ids, segment_ids, targets, pair_labels),
    _head_row("classifier of a text", heads, token_ids, segment_ids, pooled=True),
    _head_row("classifier of tokens", heads, token_ids, segment_ids, pooled=False),
    _head_row("classification of a text", fine_tuning, token_ids, pair_labels, pooled=True),
    _head_row("classification of tokens", fine_tuning, token_ids, token_labels, pooled=False,
              dropout=0.0),
    _head_row("answering", fine_tuning, token_ids, answer_spans, story_places, pooled=False),
    _seq2seq_row("encode", seq2seq, source_ids, source_mask=padding(S)),
    _seq2seq_row("decode", seq2seq, Y, token_ids, source_mask=padding(S)),
    _seq2seq_row("seq2seq shared", seq2seq, source_ids, token_ids, source_mask=padding(S)),
    _seq2seq_row("seq2seq separate, untied, post-norm", seq2seq, source_ids, token_ids,
                 source_mask=padding(S), target_vocab_size=13, **OTHER),
    _seq2seq_row("denoising shared", denoising, source_ids, token_ids, targets,
                 source_mask=padding(S)),
    _seq2seq_row("denoising separate, tied, learned", denoising, source_ids, token_ids, targets,
                 source_mask=padding(S), target_vocab_size=13, positions="learned",
                 label_smoothing=0.1),
]
# fmt: on
