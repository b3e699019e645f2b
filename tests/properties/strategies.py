"""What the properties are drawn from: shapes, masks, seeds, models, and a batch of each objective.

Hypothesis draws sizes, choices and masks, which shrink to the smallest that fails; the numbers in
the arrays come from a drawn seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.gradcheck import example_inputs
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, names
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_init
from numpylm.objectives import causal, denoising, fine_tuning, masked, next_sentence
from numpylm.parameters import Array, view

V, CONTEXT = 11, 16
SEEDS = st.integers(0, 2**32 - 1)
BATCHES = st.integers(1, 4)
LENGTHS = st.integers(1, 7)


def effort(share: float) -> settings:
    """``share`` of the profile's examples, for a property whose examples cost more or less."""
    return settings(max_examples=max(1, round(share * settings.default.max_examples)))


def masks(*shape: int) -> st.SearchStrategy[Array]:
    """Booleans of any pattern, rows that hide everything among them."""
    return hnp.arrays(bool, shape)


@st.composite
def shapes(draw: Callable, **fixed: Any) -> dict[str, Any]:
    """The fields of a ``StackConfig``, without dropout; ``fixed`` ones as given.

    At least 4 features: layer norm makes of 2 no more than a sign.
    """
    n_heads, d_head = draw(st.sampled_from([(1, 4), (1, 5), (2, 2), (2, 3), (3, 2)]))
    drawn = {
        "n_layers": draw(st.integers(1, 2)),
        "n_heads": n_heads,
        "d_model": n_heads * d_head,
        "d_ff": draw(st.integers(1, 9)),
        "norm": draw(st.sampled_from(["pre", "post"])),
        "normalisation": draw(st.sampled_from(names(NORMS))),
        "activation": draw(st.sampled_from(names(ACTIVATIONS))),
        "positions": draw(st.sampled_from(names(POSITIONS))),
        "bias": draw(st.booleans()),
        "dropout": 0.0,
    }
    return drawn | fixed


def jittered(tree: Any, seed: int) -> tuple[Array, Any]:
    """``(theta, p)`` in float64, away from the initial values, at which much is 0 or 1."""
    return example_inputs.jittered(tree, [7, seed])


@dataclass(frozen=True)
class Objective:
    """A loss, its model, and the lengths of the sequences in a batch, by the name of the array."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    init: Callable[..., Any]
    config: Callable[..., Any]
    axes: dict[str, str]  # array -> "T", "S" (padded), "1" or "2" (not)

    def count(self, batch: dict[str, Array]) -> Any:
        """What the loss is divided by."""
        if self.name == "bert":
            return np.array([np.count_nonzero(batch["targets"] != IGNORE), len(batch["labels"])])
        wanted = [n for n in ("targets", "target_out", "labels", "spans") if n in self.axes]
        return np.count_nonzero(batch[wanted[0]] != IGNORE)

    def loss_and_gradient(
        self, theta: Array, p: Any, batch: dict[str, Array], config: Any, normalizer: Any = None
    ) -> tuple[float, Array]:
        """Of one batch, in one piece."""
        loss, cache = self.forward(p, **batch, config=config, normalizer=normalizer)
        gradient = np.zeros_like(theta)
        self.backward(p, view(p, gradient), 1.0, cache)
        return float(loss), gradient

    def row(self, rng: np.random.Generator, n: int, m: int) -> dict[str, Array]:
        """One sequence of n tokens (and a source of m), without padding."""
        sizes = {"T": (1, n), "S": (1, m), "1": (1,), "2": (1, 2)}
        return {name: _content(name, rng, sizes[axis]) for name, axis in self.axes.items()}

    def pad(
        self, rng: np.random.Generator, rows: list[dict[str, Array]], extra: int
    ) -> dict[str, Array]:
        """The rows as one batch, ``extra`` places longer than the longest; ids there are random."""
        batch = {}
        for name, axis in self.axes.items():
            parts = [row[name] for row in rows]
            if axis in "TS":
                length = extra + max(a.shape[1] for a in parts)
                parts = [
                    np.concatenate([a, _filling(name, rng, (1, length - a.shape[1]))], axis=1)
                    for a in parts
                ]
            batch[name] = np.concatenate(parts)
        return batch


def _content(name: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if name in ("mask", "source_mask", "story"):
        return np.ones(shape, bool)
    if name in ("segments", "labels"):
        return rng.integers(0, 2, shape)
    if name == "spans":
        return np.zeros(shape, np.int64)  # every story has a first place
    ids = rng.integers(0, V, shape)
    if name in ("targets", "target_out"):
        ids[rng.random(shape) < 0.3] = IGNORE
        ids[0, 0] = 1  # something to predict
    return ids


def _filling(name: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if name in ("mask", "source_mask", "story"):
        return np.zeros(shape, bool)
    if name in ("targets", "target_out", "labels"):
        return np.full(shape, IGNORE)
    return rng.integers(0, 2 if name == "segments" else V, shape)


def _objective(name: str, module: Any, pair: str, init: Callable, config: Callable, axes: str):
    functions = (getattr(module, f"{pair}_{way}") for way in ("forward", "backward"))
    named = dict(item.split(":") for item in axes.split())
    return Objective(name, *functions, init, config, named)


_classes = partial(ClassifierConfig, n_labels=2)
TEXT = "ids:T segments:T mask:T"
OBJECTIVES = [
    _objective("causal", causal, "causal_lm", gpt_init, GPTConfig, "ids:T mask:T targets:T"),
    _objective("untied", causal, "causal_lm", gpt_init, partial(GPTConfig, tied=False),
               "ids:T mask:T targets:T"),
    _objective("masked", masked, "masked_lm", bert_init, BERTConfig, f"{TEXT} targets:T"),
    _objective("next-sentence", next_sentence, "next_sentence", bert_init, BERTConfig,
               f"{TEXT} labels:1"),
    _objective("bert", next_sentence, "bert_pretraining", bert_init, BERTConfig,
               f"{TEXT} targets:T labels:1"),
    _objective("classification", fine_tuning, "classification", classifier_init, _classes,
               f"{TEXT} labels:1"),
    _objective("labelling", fine_tuning, "classification", classifier_init,
               partial(_classes, pooled=False), f"{TEXT} labels:T"),
    _objective("answering", fine_tuning, "answering", classifier_init,
               partial(_classes, pooled=False), f"{TEXT} story:T spans:2"),
    _objective("denoising", denoising, "denoising", seq2seq_init, Seq2SeqConfig,
               "source:S source_mask:S target_in:T target_out:T"),
    _objective("two vocabularies", denoising, "denoising", seq2seq_init,
               partial(Seq2SeqConfig, target_vocab_size=V, tied=False),
               "source:S source_mask:S target_in:T target_out:T"),
]  # fmt: skip


@st.composite
def learners(draw: Callable, objective: Objective, **fixed: Any) -> tuple[Any, Array, Any]:
    """(config, theta, p) of a small model for an objective."""
    config = objective.config(vocab_size=V, context=CONTEXT, **draw(shapes(**fixed)))
    seed = draw(SEEDS)
    return (config, *jittered(objective.init(seed, config)[1], seed))


@st.composite
def ragged(draw: Callable, objective: Objective) -> tuple[list[dict[str, Array]], dict[str, Array]]:
    """Sequences of different lengths, each without padding, and all of them as one batch."""
    rng = np.random.default_rng(draw(SEEDS))
    lengths = draw(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1, max_size=4))
    rows = [objective.row(rng, n, m) for n, m in lengths]
    return rows, objective.pad(rng, rows, draw(st.integers(0, 3)))


def assert_close(found: Array, expected: Array, relative: float = 1e-10) -> None:
    """Equal up to ``relative`` of the largest entry: what float64 rounding may differ by."""
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * scale + 1e-14)
