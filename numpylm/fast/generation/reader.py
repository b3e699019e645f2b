"""A decoder that is ready to read: its matrices folded, its cache and its processes at hand.

What a text needs before its first token is the same for each text, so it is made once:

    with Reader(p, config, threads=2) as read:
        logits = read([7, 2, 5], 0)      # the prompt, at positions 0, 1, 2
        logits = read([3], 3)            # one more token
        logits = read.after(text)        # of a list of ids that grows: what is new in it
"""

from __future__ import annotations

import sys
import weakref
from contextlib import ExitStack
from operator import index
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np

from numpylm.fast.generation.folded_weights import fold_decoder
from numpylm.fast.generation.kv_cache import empty_past, next_logits, require_room
from numpylm.fast.generation.tensor_parallel import ProcessGroup
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import Array


class Reader:
    """``read(ids, n)``: logits (V,) of the token after ids, which stand at positions n, n + 1, …

    It keeps keys and values of the positions before n, of one text at a time. When parameters
    change, it takes another reader. As many processes as ``threads`` (named like the option of the
    command line) share the work, on Linux; elsewhere one does it. Several hold BLAS at one thread
    in this process, too, until they end: when the ``with`` block is left, when an answer is
    interrupted, or with the reader. Raises ``ValueError`` for ``threads`` below 1 or above the
    number of heads, for ids outside the vocabulary, positions that do not follow those that were
    read or do not fit into the context, and if a process cannot be had or is killed.
    """

    def __init__(self, p: GPT, config: GPTConfig, threads: int = 1) -> None:
        if not 1 <= threads <= config.n_heads:
            raise ValueError(f"threads is {threads}; it must be 1 to {config.n_heads}, one a head")
        self.p, self.config, self.lock = p, config, Lock()
        self.n = self.known = 0  # positions that were read, and how much of the text that is
        self.text: list[int] | None = None
        self.group: ProcessGroup | None = None
        self.lost = "this reader is closed"
        with ExitStack() as at_end:
            if threads == 1 or sys.platform != "linux":
                decoder = fold_decoder(p, config)
                past = empty_past(decoder, 1)
                self.read = lambda ids, n: next_logits(decoder, np.array([ids]), past, n)[0]
            else:
                at_end.enter_context(one_blas_thread())
                try:
                    self.group = ProcessGroup(config, p.embedding.tokens.weight.dtype, threads)
                    at_end.callback(self.group.close)
                    self.group.start(p)
                except OSError as error:
                    lack = f"no process can be started: {error}; use --threads 1"
                    raise ValueError(lack) from None
                self.read = self.group.read
            self.close = weakref.finalize(self, at_end.pop_all().close)  # once, at the latest then

    def __call__(self, ids: list[int], n: int) -> Array:
        with self.lock:
            self.text = None
            return self._read(ids, n)

    def after(self, text: list[int]) -> Array:
        """Logits (V,) of the token after a text, of which it sees the last ``context`` ids.

        What was read of the same list before is not read again, unless something else was read
        since, or the list is now longer than the context: then every token has another position.
        """
        with self.lock:
            unread, n = text[self.known :], self.n
            if not unread or text is not self.text or n + len(unread) > self.config.context:
                unread, n = text[-self.config.context :], 0
            self.text = None
            logits = self._read(unread, n)
            self.text, self.known = text, len(text)
            return logits

    def _read(self, ids: list[int], n: int) -> Array:
        if not self.close.alive:
            raise ValueError(self.lost)
        vocab_size, ids = self.config.vocab_size, [index(i) for i in ids]
        if not ids or min(ids) < 0 or max(ids) >= vocab_size:
            span = f"span {min(ids)} to {max(ids)}" if ids else "are none"
            raise ValueError(f"token ids {span}, the vocabulary has {vocab_size} entries")
        if not 0 <= n <= self.n:
            raise ValueError(f"position {n} does not follow the {self.n} that were read")
        require_room(n, len(ids), self.config.context)
        self.n = n
        try:
            logits = self.read(ids, n)
        except BaseException:
            if self.group:  # its processes are out of step
                self.lost = "an answer of this reader was interrupted: open another one"
                self.close()
            raise
        self.n += len(ids)
        return logits

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
