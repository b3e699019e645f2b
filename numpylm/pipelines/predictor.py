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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpylm.data.vocabulary import WordTokenizer
from numpylm.data.words import using_rules
from numpylm.parameters import Array
from numpylm.tasks.architectures import ENCODER_DECODER
from numpylm.tasks.task import Prediction
from numpylm.tasks.trained import Trained
from numpylm.training.run_folder import Run, open_run


@dataclass(frozen=True, repr=False)
class Predictor:
    """A model of a run folder, ready to answer as its task does (``tasks/``)."""

    run: Run
    p: Any

    @property
    def objective(self) -> str:
        """What the model was trained for."""
        return self.run.config.objective

    @property
    def trained(self) -> Trained:
        """The model with its vocabulary."""
        run = self.run
        return Trained(self.p, run.model, run.vocabulary, str(run.folder), run.corpus)

    def predict(self, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The answer to one text, a dictionary with plain values.

        ``second`` is the question (answering) or the second text (next-sentence). Raises
        ``ValueError`` for an empty text, one that is longer than the context, or if the second
        text is missing or not wanted.
        """
        task, second = self.run.config.task, second.strip()
        if not text.strip():
            raise ValueError("there is no text to predict for")
        if beam < 1:
            raise ValueError(f"beam is {beam}; it must be at least 1")
        if 1 + bool(second) not in task.texts:
            raise ValueError(
                f"{self.run.folder} was trained for {self.objective}, which takes "
                f"{'one text' if second else 'a second text'}"
            )
        with using_rules(self.run.vocabulary.rules):
            unknown = self._unknown(" ".join([text, second]))
            return task.predict(self.trained, text, second=second, beam=beam) | unknown

    def _unknown(self, text: str) -> dict[str, float]:
        """{"unknown": share of the words that are not known} if there are any.

        Raises ``ValueError`` if all are.
        """
        tokenizer = self.run.vocabulary.tokenizer
        split = self.run.config.task.split(text.replace("[MASK]", " "))
        if not isinstance(tokenizer, WordTokenizer) or not split.strip():
            return {}
        share = tokenizer.unknown_words(split)
        if share == 1.0:
            raise ValueError(f"the vocabulary of {self.run.folder} knows none of {text!r:.80}")
        return {"unknown": share} if share else {}

    def attention(self, text: str, *, beam: int = 1) -> tuple[list[str], list[str], Array]:
        """(source tokens, target tokens, weights (T, S)) of what an encoder-decoder writes.

        Row t is where the decoder's last layer looked, averaged over its heads, when it wrote
        target token t; both sequences end with ``</s>``. Raises ``ValueError`` for other models,
        and for a text of which the vocabulary knows no word.
        """
        self.require_attention()
        with using_rules(self.run.vocabulary.rules):
            self._unknown(text)
            return self.run.config.task.attention(self.trained, text, beam=beam)

    def require_attention(self) -> None:
        """Raise ``ValueError`` unless the model is an encoder-decoder."""
        if self.run.config.task.architecture is not ENCODER_DECODER:
            raise ValueError(f"{self.run.folder} has no encoder-decoder attention to draw")


def load_predictor(folder: str | Path) -> Predictor:
    """The model of a run folder, as of its last checkpoint.

    Raises ``ValueError`` if the folder holds no run, a damaged one, or a plain language model.
    """
    run = open_run(folder)
    if run.config.task.language_model:
        raise ValueError(f"{folder} is a language model: use numpylm generate {folder}")
    return Predictor(run, run.load_model()[2])
