"""Inference with any model that is not a plain language model.

classification               text -> label and its probability
labelling                    words -> a label for each
answering                    question and story -> the answer, a span of the story
translation and its kin      text -> text, greedy or with a beam
spans, deletion              corrupted text -> what the model restores
masked, bert                 text with [MASK] -> the most probable words there
next-sentence, bert          two texts -> the probability that the second follows the first
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.special import SpecialTokens
from numpylm.data.vocabulary import Tokenizer
from numpylm.data.words import split_text
from numpylm.layers.linear import linear_forward
from numpylm.layers.softmax import softmax_forward
from numpylm.models.bert import bert_forward, masked_head_forward, pooler_forward
from numpylm.models.heads import classifier_forward
from numpylm.models.seq2seq import cross_attention_weights, decode_forward, encode_forward
from numpylm.parameters import Array
from numpylm.tasks.answering import best_span
from numpylm.tasks.fine_tuning import word_pieces
from numpylm.tasks.next_sentence import pair_batch
from numpylm.tasks.trained import decode_ordinary, encode_known
from numpylm.tasks.writer import Writer
from numpylm.training.run_folder import Run, open_run

DENOISING = ("spans", "deletion")
PAIR_TASKS = ("translation", "summarisation", "copy", "reverse", "sort")
Prediction = dict[str, Any]


@dataclass(frozen=True, repr=False)
class Predictor:
    """A model of a run folder, ready to answer."""

    run: Run
    p: Any

    @property
    def objective(self) -> str:
        """What the model was trained for."""
        return self.run.config.objective

    def predict(self, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The answer to one text, a dictionary with plain values.

        ``second`` is the question (answering) or the second text (next-sentence). Raises
        ``ValueError`` for an empty text, one that is longer than the context, or if the second
        text is missing or not wanted.
        """
        if not text.strip():
            raise ValueError("there is no text to predict for")
        if beam < 1:
            raise ValueError(f"beam is {beam}; it must be at least 1")
        second = second.strip()
        wants = self.objective in ("answering", "next-sentence") or (second and self._is_bert)
        if bool(second) != bool(wants):
            raise ValueError(
                f"{self.run.folder} was trained for {self.objective}, which takes "
                f"{'a second text' if wants else 'one text'}"
            )
        if self.objective in (*PAIR_TASKS, *DENOISING):
            return self._written(text, beam)
        if self.objective == "classification":
            return self._class(text)
        if self.objective == "labelling":
            return self._labels(text)
        if self.objective == "answering":
            return self._answer(second, text)
        return self._follows(text, second) if second else self._filled(text)

    def attention(self, text: str, *, beam: int = 1) -> tuple[list[str], list[str], Array]:
        """(source tokens, target tokens, weights (T, S)) of what an encoder-decoder writes.

        Row t is where the decoder's last layer looked, averaged over its heads, when it wrote
        target token t; both sequences end with ``</s>``. Raises ``ValueError`` for other models.
        """
        self.require_attention()
        writer, source = Writer(self.p, self.run.model, self.run.vocabulary), self._source(text)
        self._check(len(source))
        written = writer.write_ids([source], beam=beam)[0][: self.run.config.context - 1]
        ends = SpecialTokens(writer.target_tokenizer.vocab_size)
        target = np.array(written, np.int64)
        memory, _ = encode_forward(self.p, source[None], config=self.run.model)
        shifted = np.append([ends.start], target)[None].astype(np.int64)
        _, cache = decode_forward(self.p, memory, shifted, config=self.run.model)

        def names(t: Tokenizer, ids: Array) -> list[str]:
            first = int(SpecialTokens(t.vocab_size).sentinels[0])
            return [
                t.decode(np.array([i])) if i < t.vocab_size else f"<{i - first}>"
                for i in ids.tolist()
            ] + ["</s>"]

        weights = cross_attention_weights(cache)[-1, 0].mean(axis=0)
        tokenizer = self.run.vocabulary.tokenizer
        return names(tokenizer, source[:-1]), names(writer.target_tokenizer, target), weights

    def require_attention(self) -> None:
        """Raise ``ValueError`` unless the model is an encoder-decoder."""
        if self.objective not in (*PAIR_TASKS, *DENOISING):
            raise ValueError(f"{self.run.folder} has no encoder-decoder attention to draw")

    @property
    def _is_bert(self) -> bool:
        return self.objective == "bert"

    @property
    def _special(self) -> SpecialTokens:
        return SpecialTokens(self.run.vocabulary.tokenizer.vocab_size)

    def _split(self, text: str) -> str:
        """As the training texts were: words split and lower-cased, but code keeps its case."""
        if self.objective in DENOISING:
            return text
        return split_text(text, lower=self.objective != "labelling")

    def _ids(self, text: str) -> Array:
        tokenizer = self.run.vocabulary.tokenizer
        ids = encode_known(tokenizer, self._split(text))
        if not tokenizer.decode(ids).strip():
            raise ValueError(f"the vocabulary of {self.run.folder} knows none of {text!r:.80}")
        return ids

    def _beside_a_gap(self, part: str) -> Array:
        """Ids of what stands between two gaps; of characters with the blanks at its ends."""
        tokenizer, split = self.run.vocabulary.tokenizer, self._split(part)
        if tokenizer.kind != "word":
            before, after = part[:1].isspace(), part[-1:].isspace() and bool(split)
            split = " " * before + split + " " * after
        return encode_known(tokenizer, split)

    def _framed(self, *parts: Array) -> Array:
        """[CLS] … [SEP] as one row; raises ``ValueError`` if it exceeds the context."""
        ids = np.concatenate([[self._special.cls], *parts, [self._special.sep]]).astype(np.int64)
        self._check(len(ids))
        return ids[None]

    def _check(self, length: int) -> None:
        context = self.run.config.context
        if length > context:
            raise ValueError(
                f"the text has {length} tokens with special ones, the model takes {context}"
            )

    def _written(self, text: str, beam: int) -> Prediction:
        source = self._source(text)
        self._check(len(source))
        writer = Writer(self.p, self.run.model, self.run.vocabulary)
        return {"text": self._readable(writer.write_ids([source], beam=beam)[0])}

    def _source(self, text: str) -> Array:
        """Ids of a source with its end; ``<0>``, ``<1>``, … are the sentinels of "spans"."""
        if self.objective != "spans":
            return np.append(self._ids(text), self._special.end)
        tokenizer, sentinels = self.run.vocabulary.tokenizer, self._special.sentinels
        known = {f"<{i}>": sentinel for i, sentinel in enumerate(sentinels.tolist())}
        parts = re.split(rf"({'|'.join(known)})", text)
        ids = [np.array([known[x]]) if x in known else encode_known(tokenizer, x) for x in parts]
        return np.concatenate([*ids, [self._special.end]]).astype(np.int64)

    def _readable(self, written: tuple[int, ...]) -> str:
        """The text of target ids, the sentinels of "spans" by their names."""
        tokenizer = self.run.vocabulary.target or self.run.vocabulary.tokenizer
        if self.objective != "spans":
            return decode_ordinary(tokenizer, written)
        first, text, ordinary = int(self._special.sentinels[0]), "", []
        blank = " " if tokenizer.kind == "word" else ""
        for i in (*written, first - 1):  # the last one ends the text
            if i < tokenizer.vocab_size:
                ordinary.append(i)
                continue
            text += decode_ordinary(tokenizer, ordinary)
            text += f"{blank}<{i - first}>{blank}" if i >= first else ""
            ordinary = []
        return text.strip()

    def _class(self, text: str) -> Prediction:
        logits, _ = classifier_forward(self.p, self._framed(self._ids(text)), config=self.run.model)
        probabilities, _ = softmax_forward(logits[0].astype(np.float64))
        best = int(probabilities.argmax())
        labels = self.run.vocabulary.labels
        return {"label": labels[best], "probability": float(probabilities[best])}

    def _labels(self, text: str) -> Prediction:
        self._ids(text)  # raises if the vocabulary knows nothing of it
        words = tuple(self._split(text).split())
        pieces = word_pieces(self.run.vocabulary.tokenizer, words)
        logits, _ = classifier_forward(self.p, self._framed(*pieces), config=self.run.model)
        first = 1 + np.cumsum([0, *map(len, pieces[:-1])])
        labels = [self.run.vocabulary.labels[i] for i in logits[0, first].argmax(axis=-1).tolist()]
        return {"words": list(words), "labels": labels}

    def _answer(self, question: str, story: str) -> Prediction:
        self._ids(story)  # raises if the vocabulary knows nothing of it
        words = self._split(story).split()
        pieces = word_pieces(self.run.vocabulary.tokenizer, tuple(words))
        a, b = self._ids(question), np.concatenate(pieces)
        self._check(len(a) + len(b) + 3)
        batch = pair_batch([(a, b)], self._special)
        logits, _ = classifier_forward(
            self.p, batch["ids"], batch["segments"], config=self.run.model
        )
        word_of = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        start, stop = best_span(logits[0], len(a) + 2, word_of)
        return {"answer": " ".join(words[start : stop + 1]), "start": start, "end": stop + 1}

    def _follows(self, first: str, second: str) -> Prediction:
        a, b = self._ids(first), self._ids(second)
        self._check(len(a) + len(b) + 3)
        batch = pair_batch([(a, b)], self._special)
        h, _ = bert_forward(self.p, batch["ids"], batch["segments"], config=self.run.model)
        pooled, _ = pooler_forward(self.p.pooler, h)
        logits, _ = linear_forward(self.p.next_sentence_head, pooled)
        return {"follows": float(softmax_forward(logits.astype(np.float64))[0][0, 1])}

    def _filled(self, text: str) -> Prediction:
        parts = re.split(re.escape("[MASK]"), text)
        if len(parts) < 2:
            raise ValueError(f"{self.run.folder} fills gaps: write [MASK] where one is")
        rows: list[Array] = []
        for i, part in enumerate(parts):
            rows += [np.array([self._special.mask])] * bool(i) + [self._beside_a_gap(part)]
        ids = self._framed(*rows)
        h, _ = bert_forward(self.p, ids, config=self.run.model)
        logits, _ = masked_head_forward(self.p, h[ids == self._special.mask])
        probabilities, _ = softmax_forward(logits[:, : self._special.size].astype(np.float64))
        gaps = []
        for row in probabilities:
            best = np.argsort(-row, kind="stable")[:5].tolist()
            gaps.append({self._name(i): float(row[i]) for i in best})
        return {"gaps": gaps}

    def _name(self, token: int) -> str:
        """A token as a text; a byte that is a part of a character by its number."""
        text = self.run.vocabulary.tokenizer.decode(np.array([token]))
        return text if text != "\N{REPLACEMENT CHARACTER}" else f"<0x{token:02x}>"


def load_predictor(folder: str | Path) -> Predictor:
    """The model of a run folder, as of its last checkpoint.

    Raises ``ValueError`` if the folder holds no run, a damaged one, or a plain language model.
    """
    run = open_run(folder)
    if run.config.objective == "causal":
        raise ValueError(f"{folder} is a language model: use numpylm generate {folder}")
    return Predictor(run, run.load_model()[2])
