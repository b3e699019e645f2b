"""Every kind of task learns from subwords, and its answers are texts again."""

import numpy as np
import pytest

from numpylm.data.bpe import train_bpe
from numpylm.data.special import SpecialTokens
from numpylm.pipelines.predictor import load_predictor
from numpylm.tasks.fine_tuning import word_pieces
from numpylm.tasks.pretraining import encode_documents, word_starts
from tests.tiny import fitted, settings, write_documents, write_task

BPE = {"tokenizer": "bpe", "vocab_size": 270, "context": 40}


@pytest.mark.parametrize("objective", ["masked", "spans"])
def test_pre_training(objective, tmp_path):
    corpus = write_documents(tmp_path / "documents")
    trainer = fitted(tmp_path / "run", settings(objective, corpus, **BPE))
    assert np.isfinite(trainer.theta).all()
    assert trainer.task.vocabulary.tokenizer.vocab_size == 270


@pytest.mark.parametrize("objective", ["classification", "labelling", "translation"])
def test_tasks(objective, tmp_path):
    data = write_task(tmp_path / "data", objective)
    fitted(tmp_path / "run", settings(objective, data, **BPE))
    assert load_predictor(tmp_path / "run").predict("the cat")


def test_words_keep_the_tokens_that_they_have_in_a_sentence():
    tokenizer = train_bpe("the cat sat on the mat\n" * 3, 300)
    whole = tokenizer.encode("the cat sat").tolist()
    assert np.concatenate(word_pieces(tokenizer, ("the", "cat", "sat"))).tolist() == whole
    (document,) = encode_documents(tokenizer, [["the cat sat", "on the mat"]])
    assert np.concatenate(document).tolist() == tokenizer.encode("the cat sat on the mat").tolist()
    starts = word_starts(tokenizer, np.array([whole]), SpecialTokens(tokenizer.vocab_size))
    begins = [tokenizer.decode([i]).startswith(" ") for i in whole]
    assert starts.tolist() == [[True, *begins[1:]]]
