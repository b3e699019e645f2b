"""Wrong gradients that were published, and relatives, planted in our functions while they run.

Each is an edit of one function: what stands there, and what stood in the code of others. Commits
and lines: numpyGPT c36758a, Ultron09/Numpy-Transformer d9e0e9b, AkiRusProd/numpy-transformer
656470a, AlkiGit/BERT-NumPy 0d59a19. Their own tests passed, or there were none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.gradcheck.mutation.engine import Mutant, edited
from numpylm.layers.attention import attention_backward
from numpylm.layers.cross_entropy import cross_entropy_backward
from numpylm.layers.embedding import embedding_backward
from numpylm.layers.grouped_query import grouped_query_backward
from numpylm.layers.input_embedding import input_embedding_backward
from numpylm.layers.layer_norm import layer_norm_backward
from numpylm.layers.rotary import rotary_backward
from numpylm.layers.softmax import softmax_backward
from numpylm.models.bert import masked_head_backward
from numpylm.models.encoder import encoder_layer_backward
from numpylm.models.gpt import gpt_backward
from numpylm.models.llama import llama_backward
from numpylm.models.seq2seq import decode_backward
from numpylm.objectives.next_sentence import bert_pretraining_backward, next_sentence_backward
from numpylm.optim.optimizer import Optimizer

GPT, TRANSFORMER = "codiceSpaghetti/numpyGPT", "Ultron09/Numpy-Transformer"
ROTARY = "karpathy/llama2.c #286"
TRANSLATOR, BERT = "AkiRusProd/numpy-transformer", "AlkiGit/BERT-NumPy"


@dataclass(frozen=True)
class Bug:
    """A mistake, where it was found ("" if nowhere in particular), and the edits that plant it."""

    title: str
    origin: str
    function: Callable[..., Any]
    edits: dict[str, str]

    @property
    def mutant(self) -> Mutant:
        """The function with the bug. Raises ``ValueError`` if the function has changed."""
        return edited(self.function, self.title, self.edits)


TRANSPOSED_DK = Bug(
    "dK transposed, then reshaped", GPT, attention_backward,
    {"dk = dscores.swapaxes(-2, -1) @ q": "dk = (q.swapaxes(-2, -1) @ dscores).reshape(k.shape)"},
)  # fmt: skip
UNDROPPED_DV = Bug(
    "dV from the weights before dropout", TRANSFORMER, attention_backward,
    {"dv = dropped.swapaxes(-2, -1) @ dy": "dv = weights.swapaxes(-2, -1) @ dy"},
)  # fmt: skip
SOFTMAX_BY_BATCH = Bug(
    "softmax divided by the batch size", TRANSLATOR, softmax_backward,
    {"return y * (dy - (y * dy).sum(axis=-1, keepdims=True))":
     "return y * (dy - (y * dy).sum(axis=-1, keepdims=True)) / len(y)"},
)  # fmt: skip
ZERO = Bug(
    "no gradient at all", "", cross_entropy_backward,
    {"dlogits[chosen] = float(dloss) / n * dx": "pass"},
)  # fmt: skip
_TIED = "unembedding_backward(p.embedding.tokens, dp.embedding.tokens, dlogits, cache.output)"
_SCALE = "float(dloss) / n"

# fmt: off
BUGS: list[Bug] = [
    TRANSPOSED_DK,
    Bug("tied weights: the head's share dropped", TRANSFORMER, gpt_backward,
        {_TIED: "dlogits @ p.embedding.tokens.weight"}),
    Bug("tied weights: the head's share dropped", TRANSFORMER, decode_backward,
        {"unembedding_backward(embedding.tokens, dembedding.tokens, dlogits, cache.output)":
         "dlogits @ embedding.tokens.weight"}),
    Bug("tied weights: the head's share dropped", TRANSFORMER, masked_head_backward,
        {_TIED: "dlogits @ p.embedding.tokens.weight"}),
    UNDROPPED_DV,
    Bug("dropout forgotten on the way to the softmax", "",
        attention_backward,
        {"dropout_backward(dy @ v.swapaxes(-2, -1), keep)": "dy @ v.swapaxes(-2, -1)"}),
    Bug("γ outside the two means", TRANSLATOR, layer_norm_backward,
        {"dxhat = p.gamma * dy": "dxhat = dy; rstd = p.gamma * rstd"}),
    SOFTMAX_BY_BATCH,
    Bug("1/N missing: a sum in place of a mean", "", cross_entropy_backward,
        {_SCALE: "float(dloss)"}),
    Bug("1/N of all positions, ignored ones too", "", cross_entropy_backward,
        {_SCALE: "float(dloss) / chosen.size"}),
    Bug("a second dropout mask overwrites the first", TRANSLATOR, encoder_layer_backward,
        {"leave_backward(norm, dnorm, dx, cache.leave_attention)":
         "leave_backward(norm, dnorm, dx, "
         "cache.leave_attention._replace(dropout=cache.leave_feed_forward.dropout))"}),
    Bug("token embedding cut off", BERT, input_embedding_backward,
        {"embedding_backward(p.tokens, dp.tokens, dx, cache.tokens)": "pass"}),
    Bug("segment embedding cut off", BERT, input_embedding_backward,
        {"embedding_backward(p.segments, dp.segments, dx, cache.segments)": "pass"}),
    Bug("position embedding cut off", BERT, input_embedding_backward,
        {"dx = encoding.add_backward(p.positions, dp.positions, dx, cache.positions)":
         "pass"}),
    Bug("NSP cut off from the encoder", BERT, next_sentence_backward,
        {"bert_backward(p, dp, dh, cache.model)": "pass"}),
    Bug("NSP cut off from the encoder", BERT, bert_pretraining_backward,
        {"dh = dh + pair_loss_backward(p, dp, dloss, cache.pair)":
         "pair_loss_backward(p, dp, dloss, cache.pair)"}),
    Bug("repeated ids: only the last one counts", "", embedding_backward,
        {"dp.weight[present] += np.add.reduceat(dy.reshape(ids.size, -1)[order], starts, axis=0)":
         "dp.weight[cache] += dy"}),
    Bug("rotary: the other pairing", ROTARY, rotary_backward,
        {"_pair(dy.shape[-1], cache.pairing)":
         "_pair(dy.shape[-1], {'halves': 'interleaved', 'interleaved': 'halves'}[cache.pairing])"}),
    Bug("rotary: turned on, not back", "", rotary_backward,
        {"dx[..., a] = dy[..., a] * cos + dy[..., b] * sin":
         "dx[..., a] = dy[..., a] * cos - dy[..., b] * sin",
         "dx[..., b] = dy[..., b] * cos - dy[..., a] * sin":
         "dx[..., b] = dy[..., b] * cos + dy[..., a] * sin"}),
    Bug("grouped queries: one of a group, not their sum", "", grouped_query_backward,
        {"dk, dv = (sum_of_groups(dk, n_kv_heads), sum_of_groups(dv, n_kv_heads))":
         "dk, dv = dk[:, ::dk.shape[1] // n_kv_heads], dv[:, ::dv.shape[1] // n_kv_heads]"}),
    Bug("tied weights: the head's share dropped", TRANSFORMER, llama_backward,
        {"dh = unembedding_backward(p.tokens, dp.tokens, dlogits, cache.output)":
         "dh = dlogits @ p.tokens.weight"}),
]
# fmt: on

# Not a gradient: finite differences cannot see it, ten steps against the formula do.
ADAM_STEP = Bug(
    "Adam's t is the number of the layer, not of the step", TRANSLATOR, Optimizer.update_chunks,
    {"adam_update(theta, g, m, v, step=step, lr=lr, betas=self.betas, scale=scale)":
     "adam_update(theta, g, m, v, step=1 + s.start, lr=lr, betas=self.betas, scale=scale)"},
)  # fmt: skip


def with_bug(bug: Bug) -> type[Optimizer]:
    """An optimiser class of which ``update_chunks`` has the bug."""
    made: dict[str, Any] = {}
    exec(compile(bug.mutant.tree, bug.title, "exec"), dict(bug.function.__globals__), made)
    return type("WrongOptimizer", (Optimizer,), made)


def optimizer_error(optimizer: type[Optimizer], steps: int = 10) -> float:
    """Relative error of θ after ten steps of Adam against the formula, number by number."""
    rng, beta1, beta2 = np.random.default_rng(0), 0.9, 0.999
    start, gradients = rng.standard_normal(6), rng.standard_normal((steps, 6))
    run = optimizer("adam", start.copy(), None, betas=(beta1, beta2))
    for g in gradients:
        run.update(g, lr=0.1)
    wanted = start.copy()
    for i in range(len(start)):
        m = v = 0.0
        for t, g in enumerate(gradients[:, i], start=1):
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            wanted[i] -= 0.1 * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + 1e-8)
    size = np.linalg.norm(run.theta) + np.linalg.norm(wanted)
    return float(np.linalg.norm(run.theta - wanted) / size)
