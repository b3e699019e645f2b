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
from typing import Any, Self

import numpy as np

from numpylm.data.batches import Batch
from numpylm.optim.chunks import chunks
from numpylm.optim.clipping import squared_norm
from numpylm.parallel.shared_memory import CAN_SHARE, shared_zeros
from numpylm.parallel.workers import Process
from numpylm.parameters import Array, view
from numpylm.tasks.task import Task
from numpylm.training.loop import STREAM, OneProcess, loss_and_gradient

SHARED_OUT = 8  # chunks: for fewer, asking another process takes longer than they do


class DataParallel(OneProcess):
    """The same as ``OneProcess``, a batch in ``n_shards`` shards.

    ``shared``: theta and the optimiser's state lie in memory that processes share
    (``parallel/shared_memory.py``); then each shard has a process, else a thread. Raises
    ``ValueError`` for an optimiser whose state other processes could not see.
    """

    def __init__(
        self,
        pair: tuple[Callable[..., Any], Callable[..., Any]],
        theta: Array,
        p: Any,
        count: Callable[[Batch], Any],
        *,
        n_shards: int,
        shared: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(pair, theta, p, count, **settings)
        self.gradients = [shared_zeros(theta.size, theta.dtype) for _ in range(n_shards)]
        self.views = [view(p, g) for g in self.gradients]
        self.grad, self.dp = self.gradients[0], self.views[0]
        self.pool = ThreadPoolExecutor(n_shards) if n_shards > 1 else None
        # None: they are made with the first gradient, when all that they copy is there
        self.processes: list[Process] | None = None if shared and CAN_SHARE else []
        if shared and self.optimizer and self.optimizer.zeros is not shared_zeros:
            raise ValueError(
                f"theta is shared among processes, the state of {self.optimizer.name} is not: "
                "make it with Optimizer(…, zeros=shared_zeros)"
            )

    @classmethod
    def of(cls, task: Task, theta: Array, p: Any, **training: Any) -> Self:
        """The model of a task, a shard a thread of its settings."""
        return super().of(task, theta, p, n_shards=task.settings.threads, **training)

    def run(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list:
        """[f(item) for item in items], on the threads if there are several (of both).

        Each call sees the caller's context, to which NumPy's ``errstate`` belongs.
        """
        items = list(items)
        if self.pool is None or len(items) == 1:
            return super().run(f, items)
        try:
            futures = [self.pool.submit(copy_context().run, f, item) for item in items]
        except RuntimeError:  # no threads here, as in a browser: the same shards, one by one
            self.pool = None
            return super().run(f, items)
        return [future.result() for future in futures]

    def gradient(self, batches: list[Batch], seed: list[int]) -> tuple[float, Array]:
        """(loss, ∂loss/∂θ) of batches, as of one large batch; ``norm`` is then its norm.

        ``seed`` (with the shard's number) seeds dropout. The returned vector is reused. Raises
        ``ValueError`` if the process of a shard was killed.
        """
        normalizer = self.normalizer(batches)
        cut = zip(*(_cut(batch, len(self.gradients)) for batch in batches), strict=True)
        losses = self._at_once(
            "_shard",
            [(index, parts, normalizer, [*seed, index]) for index, parts in enumerate(cut)],
        )
        self.norm = math.sqrt(sum(chain(*self._shared_out("_add"))))
        return sum(losses), self.grad

    def update(self, lr: float, scale: float = 1.0) -> None:
        """A step of the optimiser with scale · the gradient that was just computed."""
        self.optimizer.step += 1
        self._shared_out("_update", self.optimizer.step, lr, scale)

    def _at_once(self, what: str, arguments: list[tuple]) -> list:
        """A method with each tuple of arguments, the first one here, the others in processes."""
        if self.processes is None:
            self.processes = [Process(self._work) for _ in self.gradients[1:]]
        if not self.processes:
            return self.run(lambda each: self._work(what, *each), arguments)
        for process, each in zip(self.processes, arguments[1:], strict=True):
            process.start(what, *each)
        try:
            first = self._work(what, *arguments[0])
        finally:  # an answer that is not taken would be that of the next question
            answers = [process.answer() for process in self.processes]
        for error, _ in answers:
            if error is not None:
                raise error
        return [first, *(value for _, value in answers)]

    def _shared_out(self, what: str, *arguments: Any) -> list:
        """A method with each process's part of the chunks; where there are none, with all."""
        n_chunks, n = len(chunks(self.grad.size)), len(self.gradients)
        if not self.processes or n_chunks < SHARED_OUT:
            return [self._work(what, slice(None), *arguments)]
        ends = [n_chunks * i // n for i in range(n + 1)]
        return self._at_once(what, [(slice(*part), *arguments) for part in pairwise(ends)])

    def _work(self, what: str, *arguments: Any) -> Any:
        methods: dict[str, Callable[..., Any]] = {
            "_shard": self._shard, "_add": self._add, "_update": self._update,
        }  # fmt: skip
        return methods[what](*arguments)

    def _shard(self, index: int, batches: list[Batch], normalizer: Any, seed: list[int]) -> float:
        """The loss of a shard's part of each batch; its gradient is left in its place."""
        self.gradients[index][:] = 0.0
        return loss_and_gradient(
            self.pair, self.p, self.views[index], [b for b in batches if n_sequences(b)],
            normalizer=normalizer, rng=np.random.default_rng([STREAM, *seed]),
            **self.training, **self.settings,
        )  # fmt: skip

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
            squares.append(squared_norm(g))  # while the chunk is in cache
        return squares

    def _update(self, part: slice, step: int, lr: float, scale: float) -> None:
        self.optimizer.update_chunks(part, self.grad, step, lr, scale)

    def processor_seconds(self) -> float:
        """What this process and the others of the shards have taken so far."""
        return time.process_time() + sum(process.seconds for process in self.processes or [])

    def __exit__(self, *exception: object) -> None:
        """Ends threads and processes."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        for process in self.processes or []:
            process.close()
        self.processes = []


def _cut(batch: Batch, n_shards: int) -> list[Batch]:
    """The parts of a batch, as equal as can be; a part may hold no sequence."""
    ends = [len(part) for part in np.array_split(np.arange(n_sequences(batch)), n_shards)]
    starts = np.cumsum([0, *ends])
    return [{name: a[start:end] for name, a in batch.items()} for start, end in pairwise(starts)]


def n_sequences(batch: Batch) -> int:
    """B, the length of the first axis."""
    return len(next(iter(batch.values())))
