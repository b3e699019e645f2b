"""Every norm, activation and position encoding of the tables, from training to generation.

What a new entry of ``layers/choices.py`` gets without a line of its own: it trains and goes on with
the same bits, is counted, generates what its full forward says, and is a trunk for fine-tuning.
"""

import numpy as np
import pytest

import numpylm
from numpylm.cost.memory import activation_bytes
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, names
from numpylm.models.counting import parameter_counts
from numpylm.parameters import leaves
from numpylm.pipelines.predictor import load_predictor
from numpylm.training.pretrained import inherited
from numpylm.training.trainer import Trainer
from tests.tiny import fitted, settings, write_documents, write_task

TABLES = {"normalisation": NORMS, "activation": ACTIVATIONS, "positions": POSITIONS}
VARIANTS = [(field, name) for field, table in TABLES.items() for name in names(table)]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(variant))
def variant(request):
    field, name = request.param
    return {field: name}


def test_a_variant_trains_resumes_counts_and_generates(variant, tmp_path):
    corpus = write_documents(tmp_path / "documents")
    whole = fitted(tmp_path / "whole", settings("causal", corpus, **variant))
    half = Trainer.start(tmp_path / "half", whole.config)
    with half.parallel() as model:
        next(half.steps(model))
        next(half.steps(model))
    half.save()
    resumed = Trainer.resume(tmp_path / "half")
    resumed.fit(log=None)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    assert parameter_counts(whole.task.model)["total"] == whole.theta.size
    shape = whole.task.shape(whole.task.batch(0))
    assert all(size > 0 for size in activation_bytes(whole.task.model, shape).values())
    lm = numpylm.load(tmp_path / "whole")
    ids = whole.task.corpus.train[:4].tolist()
    for _ in range(5):
        ids.append(int(lm.logits(np.array(ids))[-1].argmax()))
    prompt = lm.tokenizer.decode(ids[:4])
    assert lm.generate(prompt, tokens=5, temperature=0.0) == lm.tokenizer.decode(ids)


def test_a_variant_is_a_trunk(variant, tmp_path):
    documents = write_documents(tmp_path / "documents")
    start = fitted(tmp_path / "start", settings("masked", documents, **variant))
    data = write_task(tmp_path / "data", "classification")
    given = inherited(start.run, "classification") | {"pretrained": str(start.run.folder)}
    assert given.items() >= variant.items()
    tuned = Trainer.start(tmp_path / "tuned", settings("classification", data, **given))
    before = dict(leaves(start.p.encoder))
    for name, array in leaves(tuned.p.trunk.encoder):
        np.testing.assert_array_equal(array, before[name])
    tuned.fit(log=None)
    answer = load_predictor(tmp_path / "tuned").predict("the cat sees the dog")
    assert answer["label"] in tuned.task.vocabulary.labels
