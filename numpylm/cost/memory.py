"""How much memory a training run needs, counted before it starts.

With P parameters, n = B T tokens in a batch, width D, d_ff = F, H heads, vocabulary V, L layers, in
numbers of 4 bytes:

    parameters       P
    gradients        P for each shard of a batch
    optimiser        2 P (Adam's two moments; SGD: P with momentum, else nothing)
    activations      what the forward keeps for the backward, until it is used
        vectors            8 n D a layer: layer norms, inputs of matrices, queries, keys, values
        attention weights  n H T a layer; at most, since attention in tiles keeps fewer
        feed-forward       n F a layer, and what the activation keeps (``layers/choices.py``)
        dropout masks      of all that is dropped
        logits             n V, and as much again for their gradient, unless it takes their place
    backward         what it holds besides: the gradients of the layer where it is

An evaluation keeps activations too, of larger batches; a checkpoint is copied while it is written.
Neither happens during a step, so the peak is the largest of the three; but what the processes of
the other shards have taken for steps they keep. Not counted: statistics of layer norms, ids and
masks (below 1 %), and the holes that an allocator leaves.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from numpylm.fast.cross_entropy import BLOCKED_FROM
from numpylm.layers.choices import ACTIVATIONS, Activation
from numpylm.models.bert import BERTConfig
from numpylm.models.gpt import GPTConfig
from numpylm.models.heads import ClassifierConfig
from numpylm.models.seq2seq import Seq2SeqConfig
from numpylm.tasks.task import Shape

BYTES = 4  # of a float32


def activation_bytes(config: Any, shape: Shape, *, training: bool = True) -> dict[str, int]:
    """What one forward pass keeps for its backward, in bytes by part; ``training``: dropout on."""
    n, d = shape.batch * shape.length, config.d_model
    kept: Counter[str] = Counter()
    if isinstance(config, Seq2SeqConfig):
        source = shape.length if shape.source_length is None else shape.source_length
        _add_stack(kept, config, shape.batch, source)
        _add_stack(kept, config, shape.batch, shape.length, memory=source)
        kept["vectors"] += (shape.batch * source + n) * d  # the memory, and what the output reads
    else:
        _add_stack(kept, config, shape.batch, shape.length)
    if isinstance(config, ClassifierConfig):
        kept["vectors"] += 2 * n * d  # embedding's layer norm, and what the head reads
        kept["dropout masks"] += (shape.batch if config.pooled else n) * d
    elif isinstance(config, BERTConfig):
        masked = shape.predicted or 0
        kept["vectors"] += (1 + (shape.pairs > 0)) * n * d + 5 * masked * d
    elif not isinstance(config, Seq2SeqConfig):
        kept["vectors"] += n * d
    kept["logits"] = _logits(config, shape)
    if not (training and config.dropout):
        del kept["dropout masks"]
    return {part: BYTES * count for part, count in kept.items()}


def _add_stack(
    kept: Counter[str], config: Any, batch: int, length: int, memory: int | None = None
) -> None:
    """A stack of layers and its input, with encoder-decoder attention to ``memory`` tokens."""
    n, d, layers = batch * length, config.d_model, config.n_layers
    weights = n * config.n_heads * (length + (memory or 0))
    vectors = 8 * n * d + (0 if memory is None else 4 * n * d + 2 * batch * memory * d)
    kept["vectors"] += layers * vectors + (n * d if config.norm == "pre" else 0)
    kept["attention weights"] += layers * weights
    kept["feed-forward"] += layers * n * config.d_ff * (1 + _activation(config).kept)
    residuals = 2 if memory is None else 3
    kept["dropout masks"] += layers * (2 * weights + residuals * n * d) + n * d


def _activation(config: Any) -> Activation:
    return ACTIVATIONS[config.activation_entry]


def _logits(config: Any, shape: Shape) -> int:
    n = shape.batch * shape.length
    if isinstance(config, ClassifierConfig):
        return (shape.batch if config.pooled else n) * config.n_labels
    if isinstance(config, BERTConfig):
        return (shape.predicted or 0) * config.vocab_size + 2 * shape.pairs
    return n * (getattr(config, "target_vocab_size", None) or config.vocab_size)


def _in_place(config: Any, shape: Shape, shards: int) -> bool:
    """Is the loss computed in the logits' memory, as the twin in ``fast/`` does if they are large?

    It does so for causal models only.
    """
    fast = isinstance(config, GPTConfig) and config.implementation == "fast"
    return fast and _logits(config, shape) // shards >= BLOCKED_FROM


def backward_bytes(config: Any, shape: Shape, threads: int = 1) -> int:
    """What the backward holds at most besides the activations, in bytes.

    The gradient of the logits stays to the end; then the largest of: the feed-forward network,
    the attention, the gradient of the output matrix, which each thread makes by itself.
    """
    longest = max(shape.length, shape.source_length or 0)
    n, d = shape.batch * longest, config.d_model
    logits = 0 if _in_place(config, shape, threads) else _logits(config, shape)
    feed_forward = n * config.d_ff * _activation(config).working + 2 * n * d
    attention = 3 * n * config.n_heads * longest + 4 * n * d
    output = threads * d * config.vocab_size if _logits(config, shape) else 0
    return BYTES * (logits + max(feed_forward, attention, output))


def model_bytes(parameters: int, *, threads: int, moments: int) -> dict[str, int]:
    """What lasts for the whole run, in bytes; moments: vectors that the optimiser keeps."""
    counts = {"parameters": 1, "gradients": threads, "optimiser": moments}
    return {part: BYTES * parameters * count for part, count in counts.items()}


def run_bytes(
    config: Any,
    parameters: int,
    steps: list[Shape],
    evaluations: list[Shape],
    *,
    threads: int,
    moments: int,
) -> dict[str, int]:
    """The peak of a run over what its process held before, in bytes by part.

    steps: shapes of training batches, of which the largest counts; evaluations: those of held-out
    batches, of which each thread has one at a time.
    """
    lasting = model_bytes(parameters, threads=threads, moments=moments)

    def step_bytes(shape: Shape) -> dict[str, int]:
        backward = backward_bytes(config, shape, threads)
        return activation_bytes(config, shape) | {"backward": backward}

    peaks = [step_bytes(shape) for shape in set(steps)]
    elsewhere = {}
    if sys.platform == "linux" and threads > 1:  # there shards have processes
        largest = max(sum(parts.values()) for parts in peaks)
        elsewhere["steps (other processes)"] = largest * (threads - 1) // threads

    def evaluation_bytes(shape: Shape) -> dict[str, int]:
        kept = activation_bytes(config, shape, training=False)
        if not _in_place(config, shape, 1):
            kept["logits"] *= 2  # the scores themselves, and their softmax
        at_once = min(threads, len(evaluations))
        return elsewhere | {f"{part} (evaluation)": at_once * n for part, n in kept.items()}

    peaks += [evaluation_bytes(shape) for shape in set(evaluations)]
    saved = lasting["parameters"] + lasting["optimiser"]
    peaks.append(elsewhere | {"checkpoint (saving)": 2 * saved})
    return lasting | max(peaks, key=lambda parts: sum(parts.values()))


def process_bytes() -> tuple[int, int]:
    """What this process holds now, and the most that it ever held; (0, 0) where not on Linux."""
    try:
        status = Path("/proc/self/status").read_text().split("\n")
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in status if ":" in line)
    now, peak = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak


def free_bytes() -> int | None:
    """Memory that a new program could take on this machine; None where not on Linux."""
    if not os.path.exists("/proc/meminfo"):
        return None
    lines = Path("/proc/meminfo").read_text().split("\n")
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return 1024 * int(fields["MemAvailable"].split()[0])
