"""Both cores at work: data parallelism.

The batch is cut into shards; a shard's loss is divided by the number of targets of the *whole*
batch, so that losses and gradients of the shards just add up:

    ∇L = Σ_shards ∇L_shard            summed in a fixed order, so a run repeats bit for bit

It is the picture of training on many machines. Each shard has a process of its own
(``parallel/workers.py``), or a thread where a process cannot be had: NumPy releases the
interpreter lock inside its loops and matrix products, and BLAS is held at one thread a shard. The
processes also share out what is left to do: of the sum, of its norm and of the optimiser's update
each takes some chunks of the vectors (threads would gain nothing there).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain, pairwise
from typing import Any

import numpy as np

from numpylm.data.batches import Batch
from numpylm.layers.linear import Linear
from numpylm.optim.chunks import chunks
from numpylm.optim.clipping import squared_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.parallel.shared_memory import is_shared, shared_zeros
from numpylm.parallel.workers import Process
from numpylm.parameters import Array, leaves, parts, view
from numpylm.tasks.task import Task

Count = Callable[[Batch], Any]

SHARED_OUT = 8  # chunks: for fewer, asking another process takes longer than they do
STREAM = 102  # keeps the random numbers of dropout apart from those of other purposes


class DataParallel:
    """Loss and gradient of a batch, computed in shards.

    ``forward(p, **batch, normalizer=…, rng=…, **settings) -> (loss, cache)`` and
    ``backward(p, dp, dloss, cache)`` are an objective's pair, such as ``causal_lm_forward``;
    ``count(batch)`` is what its loss is divided by: a number, or an array if it has
    several parts. ``training`` holds settings of training alone, such as label smoothing. The
    ``optimizer``, for ``update``, updates theta. The gradient of ``frozen`` parameters, booleans
    (N,), is 0. Raises ``ValueError`` for an optimiser that other processes could not update with.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        theta: Array,
        p: Any,
        n_shards: int,
        count: Count,
        training: dict[str, Any] | None = None,
        optimizer: Optimizer | None = None,
        frozen: Array | None = None,
        **settings: Any,
    ) -> None:
        self.forward, self.backward, self.p, self.settings = forward, backward, p, settings
        self.count, self.training = count, training or {}
        self.optimizer: Any = optimizer
        self.frozen, self.norm = frozen, math.nan
        self.gradients = [shared_zeros(theta.size, theta.dtype) for _ in range(n_shards)]
        self.views = [view(p, g) for g in self.gradients]
        self.linears = [list(parts(v, Linear)) for v in self.views]
        self.others = [_others(v) for v in self.views]
        self.pool = ThreadPoolExecutor(n_shards) if n_shards > 1 else None
        # None: they are made with the first gradient, when all that they copy is there
        self.processes: list[Process] | None = None if is_shared(theta) else []
        state = optimizer.state if optimizer else {}
        if self.processes is None and not all(map(is_shared, state.values())):
            raise ValueError(
                f"theta is shared among processes, the state of {optimizer.name} is not: "
                "make it with Optimizer(…, zeros=shared_zeros)"
            )

    @classmethod
    def of(cls, task: Task, theta: Array, p: Any, **training: Any) -> DataParallel:
        """The model of a task and its shards: processes, if theta is in memory from ``shared``.
        ``training`` are an optimizer and what is frozen."""
        return cls(
            *task.functions, theta, p, task.settings.threads, task.count,
            training=task.training_settings(), config=task.model, **training,
        )  # fmt: skip

    def run(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list:
        """[f(item) for item in items], on the threads if there are several (of both).

        Each call sees the caller's context, to which NumPy's ``errstate`` belongs.
        """
        items = list(items)
        if self.pool is None or len(items) == 1:
            return [f(item) for item in items]
        try:
            futures = [self.pool.submit(copy_context().run, f, item) for item in items]
        except RuntimeError:  # no threads here, as in a browser: the same shards, one by one
            self.pool = None
            return [f(item) for item in items]
        return [future.result() for future in futures]

    def gradient(self, micro_batches: list[Batch], seed: list[int]) -> tuple:
        """(loss, ∂loss/∂θ) of micro-batches, as of one large batch; ``norm`` is then its norm.

        ``seed`` (with the shard's number) seeds dropout. The returned vector is reused. Raises
        ``ValueError`` if the process of a shard was killed.
        """
        normalizer = sum(self.count(batch) for batch in micro_batches)
        cut = zip(*(_cut(batch, len(self.gradients)) for batch in micro_batches), strict=True)
        losses = self._at_once(
            "_shard",
            [(index, parts, normalizer, [*seed, index]) for index, parts in enumerate(cut)],
        )
        self.norm = math.sqrt(sum(chain(*self._shared_out("_add"))))
        return sum(losses), self.gradients[0]

    def update(self, lr: float, scale: float = 1.0) -> None:
        """A step of the optimiser with scale · the gradient that was just computed."""
        self.optimizer.step += 1
        self._shared_out("_update", self.optimizer.step, lr, scale)

    def _at_once(self, task: str, arguments: list[tuple]) -> list:
        """A method with each tuple of arguments, the first one here, the others in processes."""
        if self.processes is None:
            self.processes = [Process(self._work) for _ in self.gradients[1:]]
        if not self.processes:
            return self.run(lambda each: self._work(task, *each), arguments)
        for process, each in zip(self.processes, arguments[1:], strict=True):
            process.start(task, *each)
        try:
            first = self._work(task, *arguments[0])
        finally:  # an answer that is not taken would be that of the next question
            answers = [process.answer() for process in self.processes]
        for error, _ in answers:
            if error is not None:
                raise error
        return [first, *(value for _, value in answers)]

    def _shared_out(self, task: str, *arguments: Any) -> list:
        """A method with each process's part of the chunks; where there are none, with all."""
        n_chunks, n = len(chunks(self.gradients[0].size)), len(self.gradients)
        if not self.processes or n_chunks < SHARED_OUT:
            return [self._work(task, slice(None), *arguments)]
        ends = [n_chunks * i // n for i in range(n + 1)]
        return self._at_once(task, [(slice(*part), *arguments) for part in pairwise(ends)])

    def _work(self, task: str, *arguments: Any) -> Any:
        return getattr(self, task)(*arguments)

    def _shard(self, index: int, micro: list[Batch], normalizer: Any, seed: list[int]) -> float:
        """The loss of a shard's part of each micro-batch; its gradient is left in its place."""
        self._clear(index)
        loss, rng = 0.0, np.random.default_rng([STREAM, *seed])
        for part in micro:
            if n_sequences(part):
                loss_part, cache = self.forward(
                    self.p, **part, normalizer=normalizer, rng=rng, **self.training, **self.settings
                )
                self.backward(self.p, self.views[index], np.float32(1.0), cache)
                loss += float(loss_part)
        for linear in self.linears[index]:
            if linear.fresh:  # this objective does not use it
                if linear.weight[0].any():
                    raise ValueError("a Linear's gradient was made without linear_backward")
                linear.weight[...], linear.fresh = 0.0, False
        return loss

    def _clear(self, index: int) -> None:
        """The gradient of a shard is 0. Of a weight that is only said: the first product that is
        added will take its place, without reading what was there."""
        for linear in self.linears[index]:
            linear.weight[0], linear.fresh = 0.0, True  # who adds to it otherwise will be found
        for g in self.others[index]:
            g[...] = 0.0

    def _add(self, part: slice) -> list[float]:
        """Add the gradients of all shards up, in the first; returns the squared norms of chunks."""
        total, *others = self.gradients
        squares = []
        for s in chunks(total.size)[part]:
            g = total[s]
            for other in others:
                g += other[s]
            if self.frozen is not None:
                g[self.frozen[s]] = 0.0
            squares.append(squared_norm(g))  # while the chunk is near the processor
        return squares

    def _update(self, part: slice, step: int, lr: float, scale: float) -> None:
        self.optimizer.update_chunks(part, self.gradients[0], step, lr, scale)

    def processor_seconds(self) -> float:
        """What this process and the others of the shards have taken so far."""
        return time.process_time() + sum(process.seconds for process in self.processes or [])

    def losses(self, batches: list[Batch], normalizer: Any) -> list[float]:
        """The loss of each batch over a common normalizer, without dropout, on the threads."""

        def loss(batch: Batch) -> float:
            forward = self.forward(self.p, **batch, normalizer=normalizer, **self.settings)
            return float(forward[0])

        return self.run(loss, batches)

    def __enter__(self) -> DataParallel:
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends threads and processes."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        for process in self.processes or []:
            process.close()
        self.processes = []


def _others(tree: Any) -> list[Array]:
    """All arrays of a tree but the weights of its linear maps."""
    weights = {id(linear.weight) for linear in parts(tree, Linear)}
    return [array for _, array in leaves(tree) if id(array) not in weights]


def _cut(batch: Batch, n_shards: int) -> list[Batch]:
    """The parts of a batch, as equal as can be; a part may hold no sequence."""
    ends = [len(part) for part in np.array_split(np.arange(n_sequences(batch)), n_shards)]
    starts = np.cumsum([0, *ends])
    return [{name: a[start:end] for name, a in batch.items()} for start, end in pairwise(starts)]


def n_sequences(batch: Batch) -> int:
    """B, the length of the first axis."""
    return len(next(iter(batch.values())))
