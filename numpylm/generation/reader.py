"""§5.4 A decoder that is ready to read: its matrices folded, its cache and its processes at hand.

What a text needs before its first token is the same for each text, so it is made once:

    with Reader(p, config, threads=2) as read:
        logits = read([7, 2, 5], 0)      # the prompt, at positions 0, 1, 2
        logits = read([3], 3)            # one more token
"""

from __future__ import annotations

import sys
import weakref
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np

from numpylm.generation.cached import empty_past, next_logits
from numpylm.generation.folding import fold_decoder
from numpylm.generation.tensor_parallel import ProcessGroup
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.parameters import Array
from numpylm.processes import one_blas_thread


class Reader:
    """``read(ids, n)``: logits (V,) of the token after ids, which stand at positions n, n + 1, …

    It keeps keys and values of the positions before n, of one text at a time. When parameters
    change, it takes another reader. As many processes as ``threads`` (named like the option of the
    command line) share the work, on Linux; elsewhere one does it. Several hold BLAS at one thread
    in this process, too, until they end: when the ``with`` block is left, or with the reader.
    Raises ``ValueError`` for ``threads`` below 1 or above the number of heads, and if a process
    cannot be had or is killed; ``read`` raises what another process raised.
    """

    def __init__(self, p: GPT, config: GPTConfig, threads: int = 1) -> None:
        if not 1 <= threads <= config.n_heads:
            raise ValueError(f"threads is {threads}; it must be 1 to {config.n_heads}, one a head")
        self.context = config.context
        self.text: object = None
        self.group: ProcessGroup | None = None
        with ExitStack() as at_end:
            if threads == 1 or sys.platform != "linux":
                decoder = fold_decoder(p, config)
                past = empty_past(decoder, 1)
                self.read = lambda ids, n: next_logits(decoder, np.array([ids]), past, n)[0]
            else:
                at_end.enter_context(one_blas_thread())
                try:
                    self.group = ProcessGroup(p, config, threads)
                except OSError as error:
                    lack = f"no process can be started: {error}; use --threads 1"
                    raise ValueError(lack) from None
                at_end.callback(self.group.close)
                self.read = self.group.read
            self.close = weakref.finalize(self, at_end.pop_all().close)  # once, at the latest then

    def __call__(self, ids: list[int], n: int) -> Array:
        if not self.close.alive:
            raise ValueError("this reader is closed")
        return self.read(ids, n)

    def turn_to(self, text: object) -> bool:
        """Is it another text than before? Then whoever writes it reads it from its start."""
        if text is self.text:
            return False
        self.text = text
        if self.group:
            self.group.part()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
