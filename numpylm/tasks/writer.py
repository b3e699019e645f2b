"""An encoder-decoder with its vocabulary writes: greedy, or with a beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from numpylm.data.special import SpecialTokens
from numpylm.data.vocabulary import Tokenizer
from numpylm.generation.beam_search import beam_search, greedy_search
from numpylm.models.seq2seq import Seq2Seq, Seq2SeqConfig
from numpylm.parameters import Array
from numpylm.tasks.trained import Vocabulary, decode_ordinary, encode_known


@dataclass(frozen=True)
class Writer:
    """An encoder-decoder with its vocabulary. ``run(f, items)`` may use several threads."""

    p: Seq2Seq
    model: Seq2SeqConfig
    vocabulary: Vocabulary
    run: Callable[..., list] = lambda f, items: list(map(f, items))

    @property
    def source(self) -> SpecialTokens:
        """The special tokens of the source's vocabulary."""
        return SpecialTokens(self.vocabulary.tokenizer.vocab_size)

    @property
    def target_tokenizer(self) -> Tokenizer:
        """The target's own tokenizer, or the shared one."""
        return self.vocabulary.target or self.vocabulary.tokenizer

    def write(self, sources: list[str], *, beam: int = 1) -> list[str]:
        """What the model writes for each source, as in ``write_ids``, without special tokens."""
        tokenizer, end = self.vocabulary.tokenizer, self.source.end
        encoded = [np.append(encode_known(tokenizer, text), end) for text in sources]
        written = self.write_ids(encoded, beam=beam)
        return [decode_ordinary(self.target_tokenizer, ids) for ids in written]

    def write_ids(
        self, sources: list[Array], *, beam: int = 1, alpha: float = 0.6
    ) -> list[tuple[int, ...]]:
        """Target ids for source ids that end with ``</s>``: greedy, or with a beam.

        A source that is longer than the context gives none. Sources of one length go together, so
        that no answer depends on the others. Raises ``ValueError`` for a beam below 1.
        """
        if beam < 1:
            raise ValueError(f"beam is {beam}; it must be at least 1")
        limit, ends = self.model.context, SpecialTokens(self.target_tokenizer.vocab_size)
        fitting = [i for i, ids in enumerate(sources) if len(ids) <= limit]
        fitting.sort(key=lambda i: len(sources[i]))
        groups: list[list[int]] = []
        for _, same in groupby(fitting, key=lambda i: len(sources[i])):
            numbers = list(same)
            groups += [numbers[i : i + 16] for i in range(0, len(numbers), 16)]
        search = partial(beam_search, beam=beam) if beam > 1 else greedy_search

        def answers(group: list[int]) -> list[tuple[int, ...]]:
            source = np.stack([sources[i] for i in group])
            found = search(
                self.p, source, config=self.model, start=ends.start, end=ends.end, alpha=alpha,
                max_tokens=min(limit, 2 * source.shape[1] + 10),
            )  # fmt: skip
            return [h.ids for h in found]

        written: list[tuple[int, ...]] = [()] * len(sources)
        for group, found in zip(groups, self.run(answers, groups), strict=True):
            for i, ids in zip(group, found, strict=True):
                written[i] = ids
        return written
