"""The corpus of a run as ids: read, tokenized, and checked to be the one it started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpylm.data.batches import require_window
from numpylm.data.corpus import load_corpus
from numpylm.data.vocabulary import Tokenizer, WordTokenizer, train_tokenizer
from numpylm.parameters import Array


@dataclass(frozen=True)
class TokenizedCorpus:
    """The ids of a corpus, and what ``config.json`` says of it."""

    tokenizer: Tokenizer
    train: Array
    valid: Array
    test: Array
    summary: dict

    @property
    def parts(self) -> dict[str, Array]:
        """The ids of "train", "valid" and "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @classmethod
    def load(cls, config: Any, tokenizer: Tokenizer | None = None) -> TokenizedCorpus:
        """Read and encode the corpus of a configuration, with a run's tokenizer if given.

        Raises ``ValueError`` if the text cannot be read or is shorter than a context.
        """
        corpus = load_corpus(config.corpus)
        if tokenizer is None:
            others = corpus.valid + corpus.test
            kind, size = config.tokenizer, config.vocab_size
            tokenizer = train_tokenizer(kind, corpus.train, others, config.min_count, size)
        train, valid, test = map(tokenizer.encode, (corpus.train, corpus.valid, corpus.test))
        require_window(train, config.context, "training")
        require_window(valid, config.context, "validation")
        sizes = {"train_tokens": len(train), "valid_tokens": len(valid), "test_tokens": len(test)}
        summary = {"name": corpus.name, "sha256": corpus.sha256, **sizes}
        if isinstance(tokenizer, WordTokenizer):
            summary["valid_unknown"] = tokenizer.unknown_share(valid)
        return cls(tokenizer, train, valid, test, summary)
