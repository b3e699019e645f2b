"""Tensor parallelism: several cores for one token, each with a part of every matrix.

For one token a matrix is read for a single row, and a core waits for memory more than it computes.
Two cores read twice as fast, and their caches hold twice as much. Heads know nothing of each other,
nor do hidden features, up to the matrix that ends the sublayer; and that one sums over them:

    attention       y = Σ_h head_h W_O[rows of h]      a part: some heads, columns of W_Q, W_K, W_V
    feed-forward    y = Σ_f gelu(x W_1[:, f]) W_2[f]           some hidden features, columns of W_1
    output          logits = [x W[:, 0], …, x W[:, V − 1]]     some words, columns of W

The rows of W_O and W_2 that belong to a part go with it. So there are two sums a layer (``total``),
where all wait for each other, and at the end the logits side by side (``join``). All else, such as
the residual stream, each process computes for itself. As all add the parts in the same order they
have the same bits: those of one process up to rounding.
Source: Shoeybi et al. 2019, arXiv:1909.08053, §3.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np

from numpylm.fast.generation.folded_weights import FoldedDecoder, fold_decoder
from numpylm.fast.generation.kv_cache import Group, empty_past, next_logits
from numpylm.layers.feed_forward import FeedForward
from numpylm.layers.linear import Linear
from numpylm.layers.multi_head import MultiHeadAttention
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.layer import TransformerLayer
from numpylm.parallel.processors import processor, separate_processors
from numpylm.parallel.shared_memory import shared_zeros
from numpylm.parallel.workers import Process
from numpylm.parameters import Array

TRIES = 500  # a process looks so often, some 30 µs, for a post before it lets others run
WATCH = 10  # times as often for a question before it sleeps: to wake it up takes 0.1 ms
LOOKS = 10_000  # looks after which it makes sure that the others live
PATIENCE = 1.0  # seconds of sleep after which it does so


class ProcessGroup(Group):
    """``size`` processes, each with its part of the model: ``rank`` 0 is this one, which asks."""

    def __init__(self, config: GPTConfig, dtype: np.dtype, size: int) -> None:
        from multiprocessing import get_context  # it is not there in a browser

        self.config, shape = config, (2, size, config.context, config.d_model)
        self.parts = shared_zeros(math.prod(shape), dtype).reshape(shape)  # by turn and rank
        self.logits = shared_zeros(config.vocab_size, dtype)
        self.question = shared_zeros(2 + config.context, np.int64)  # n, T and the ids
        semaphore, ranks = get_context("fork").Semaphore, range(size)
        self.posted = [
            [semaphore(0) if i != j else None for j in ranks] for i in ranks
        ]  # from i to j
        enough = len(os.sched_getaffinity(0)) >= size
        self.tries = TRIES if enough else 0  # if not, who is waited for needs the processor
        self.parent, self.processes = os.getpid(), list[Process]()

    def start(self, p: GPT) -> None:
        """Start the others, to be ended by ``close`` whatever happens from now on."""
        with separate_processors() as move_away:
            self.processor = processor()
            for rank in range(1, len(self.posted)):
                self.processes.append(Process(partial(self._serve, p, rank)))
                move_away(self.processes[-1].pid)
                self.processes[-1].start()
            self._take(p, 0)

    def _take(self, p: GPT, rank: int) -> None:
        """Be one of the processes."""
        self.rank, size = rank, len(self.posted)
        self.decoder = part_of(p, self.config, rank, size)
        self.words = _part(self.config.vocab_size, rank, size)
        self.past = empty_past(self.decoder, 1)
        others = [i for i in range(size) if i != rank]
        self.post = [self.posted[rank][i].release for i in others]
        self.receive = [self.posted[i][rank].acquire for i in others]
        self.turn, self.views = 0, [[part[:0] for part in turn] for turn in self.parts]

    def read(self, ids: list[int], n: int) -> Array:
        """Ask all processes, this one too. After an answer that failed there is no other."""
        if os.getpid() != self.parent:
            raise ValueError("this reader belongs to another process: open one here")
        if n == 0 and processor() != self.processor:  # this one was moved since the last text
            with separate_processors() as move_away:
                self.processor = processor()
                for process in self.processes:
                    move_away(process.pid)
        length = len(ids)
        self.question[0], self.question[1] = n, length
        self.question[2 : 2 + length] = ids
        for post in self.post:
            post()
        return self._answer(n, length)

    def _serve(self, p: GPT, rank: int) -> None:
        """Another process: take part in every answer."""
        self._take(p, rank)
        asked = self.receive[0]
        while True:
            if not any(asked(False) for _ in range(WATCH * self.tries)):
                while not asked(True, PATIENCE):  # asleep: who asks may take its time
                    self._check_others()
            self._answer(self.question.item(0), self.question.item(1))

    def _answer(self, n: int, length: int) -> Array:
        if len(self.views[0][0]) != length:
            self.views = [[part[:length] for part in turn] for turn in self.parts]
        ids = self.question[None, 2 : 2 + length]
        return next_logits(self.decoder, ids, self.past, n, group=self)[0]

    def total(self, y: Array) -> Array:
        """Σ y over the processes. Nothing is overwritten that another still reads: it has posted
        its part of the next sum, in the other place, before anyone comes back to this one; and a
        question comes only when all have answered the last."""
        self.turn = 1 - self.turn
        parts = self.views[self.turn]
        parts[self.rank][...] = y
        for post in self.post:
            post()
        for receive in self.receive:
            if not receive(False):
                self._wait(receive)
        total = parts[0] + parts[1]
        for part in parts[2:]:
            total += part
        return total

    def join(self, y: Array) -> Array:
        """The logits of all words; only who asked waits for them."""
        self.logits[self.words] = y[0]
        if self.rank:
            self.post[0]()
            return y
        for receive in self.receive:
            self._wait(receive)
        return self.logits[None].copy()

    def _wait(self, receive: Callable[..., bool]) -> None:
        """Until it was posted: busy, as to sleep takes longer than what it mostly waits for."""
        for look in count(1):
            if receive(False):
                return
            if look > self.tries:
                os.sched_yield()  # it may be waiting for this processor
            if look % LOOKS == 0:
                self._check_others()

    def _check_others(self) -> None:
        """End, if another process has ended before its time."""
        if self.rank and os.getppid() != self.parent:
            raise SystemExit
        for process in self.processes if self.rank == 0 else ():
            process.check()

    def close(self) -> None:
        """End the other processes, whatever they do."""
        while self.processes:
            self.processes[-1].kill()
            self.processes.pop().close()


def part_of(p: GPT, config: GPTConfig, rank: int, size: int) -> FoldedDecoder:
    """The ``rank``-th of ``size`` parts of the model: its heads, hidden features and words."""
    heads, d_head = _part(config.n_heads, rank, size), config.d_model // config.n_heads
    columns = slice(heads.start * d_head, heads.stop * d_head)

    def part(layer: TransformerLayer) -> TransformerLayer:
        own, feed = layer.self_attention, layer.feed_forward
        features = _part(feed.hidden.weight.shape[1], rank, size)
        query, key, value = (
            _columns(linear, columns) for linear in (own.query, own.key, own.value)
        )
        return replace(
            layer,
            self_attention=MultiHeadAttention(query, key, value, _rows(own.output, columns, rank)),
            feed_forward=FeedForward(
                _columns(feed.hidden, features), _rows(feed.output, features, rank)
            ),
        )

    layers = [part(layer) for layer in p.decoder.layers]
    decoder = fold_decoder(replace(p, decoder=replace(p.decoder, layers=layers)), config)
    return replace(
        decoder,
        output=_columns(decoder.output, _part(config.vocab_size, rank, size)),
        heads=range(heads.start, heads.stop),
    )


def _part(number: int, rank: int, size: int) -> slice:
    """The ``rank``-th of ``size`` parts of 0 … number − 1, as equal as can be."""
    return slice(number * rank // size, number * (rank + 1) // size)


def _columns(linear: Linear, part: slice) -> Linear:
    return Linear(linear.weight[:, part], None if linear.bias is None else linear.bias[part])


def _rows(linear: Linear, part: slice, rank: int) -> Linear:
    """The bias is in one of the parts only: they are added."""
    return Linear(linear.weight[part], None if rank else linear.bias)
