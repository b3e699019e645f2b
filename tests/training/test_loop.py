"""§5.3 The path that training takes, from a batch to the new parameters, against the formula.

Ten updates of AdamW, clipped, two batches an update, a part frozen: in one process, on threads and
in processes that share out the update. Each mistake on that path must show.
"""

import math

import numpy as np
import pytest

from numpylm.gradcheck.mutation.engine import edited, implanted
from numpylm.optim import chunks as chunks_module
from numpylm.optim.optimizer import Optimizer
from numpylm.parallel.shared_memory import shared, shared_zeros
from numpylm.parameters import pack
from numpylm.training import data_parallel
from numpylm.training.data_parallel import DataParallel
from numpylm.training.loop import OneProcess, training_loop
from numpylm.training.stopping import TrainingDiverged

N, STEPS, CLIP, DECAY, BETAS = 10, 10, 1.0, 0.1, (0.9, 0.99)
START = np.random.default_rng(0).standard_normal((5, 2))
VECTORS = np.random.default_rng(1).standard_normal((2 * STEPS, 4, N))  # of 4 sequences a batch
DECAYED = np.arange(N) < 6
FROZEN = np.arange(N) == 3


def forward(p, vectors, normalizer, rng=None):
    """A loss whose gradient is known: Σ g · θ / n."""
    return (vectors @ p["w"].ravel()).sum() / normalizer, (vectors, normalizer)


def backward(p, dp, dloss, cache):
    vectors, normalizer = cache
    dp["w"] += (vectors.sum(axis=0) / normalizer).reshape(dp["w"].shape)


def batches(step):
    return [{"vectors": VECTORS[i]} for i in (2 * step, 2 * step + 1)]


def learning_rate(step):
    return 0.1 / (1 + step)


def count(batch):
    return len(batch["vectors"])


def trained(way):
    """θ after ten updates."""
    theta, p = pack({"w": START.copy()})
    zeros = np.zeros
    if way == "processes":
        (theta, p), zeros = shared(theta, p), shared_zeros
    decay = np.where(DECAYED, DECAY, 0.0)
    optimizer = Optimizer("adamw", theta, decay, betas=BETAS, zeros=zeros)
    settings = {"optimizer": optimizer, "frozen": FROZEN}
    if way == "one process":
        model = OneProcess((forward, backward), theta, p, count, **settings)
    else:
        settings |= {"n_shards": 2, "shared": way == "processes"}
        model = DataParallel((forward, backward), theta, p, count, **settings)
    with model:
        loop = training_loop(model, batches, learning_rate, steps=range(STEPS), clip=CLIP, seed=0)
        assert [math.isfinite(step.loss) for step in loop] == [True] * STEPS
    return theta.copy()


def formula():
    """The same, number by number."""
    theta, m, v = START.ravel().tolist(), [0.0] * N, [0.0] * N
    for step in range(STEPS):
        both = VECTORS[2 * step : 2 * step + 2].reshape(-1, N)
        g = [0.0 if FROZEN[i] else sum(both[:, i]) / len(both) for i in range(N)]
        norm = math.sqrt(sum(x * x for x in g))
        g = [x * min(1.0, CLIP / norm) for x in g]
        t, lr = step + 1, learning_rate(step)
        for i in range(N):
            theta[i] *= 1 - lr * DECAY if DECAYED[i] else 1
            m[i] = BETAS[0] * m[i] + (1 - BETAS[0]) * g[i]
            v[i] = BETAS[1] * v[i] + (1 - BETAS[1]) * g[i] ** 2
            m_hat, v_hat = m[i] / (1 - BETAS[0] ** t), v[i] / (1 - BETAS[1] ** t)
            theta[i] -= lr * m_hat / (math.sqrt(v_hat) + 1e-8)
    return np.array(theta)


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch):
    monkeypatch.setattr(chunks_module, "CHUNK", 4)
    monkeypatch.setattr(data_parallel, "SHARED_OUT", 1)


EACH, ONE, SHARDS = ("one process", "threads", "processes"), ("one process",), ("processes",)


@pytest.mark.parametrize("way", EACH)
def test_ten_updates_are_those_of_the_formula(way):
    np.testing.assert_allclose(trained(way), formula(), rtol=1e-12)


MISTAKES = [
    (training_loop, "clip_factor(norm, clip)", "1.0", EACH),
    (training_loop, "learning_rate(step)", "learning_rate(0)", EACH),
    (training_loop, "batches(step)", "batches(0)", EACH),
    (Optimizer.update, "self.step += 1", "self.step = 1", ONE),
    (Optimizer.update, "self.update_chunks(slice(None), grad, self.step, lr, scale)",
     "self.update_chunks(slice(None), grad, self.step, lr, 1.0)", ONE),
    (Optimizer.update_chunks, "decay_weights(theta[stretch], decay, lr=lr)", "pass", EACH),
    (OneProcess.gradient, "self.grad[:] = 0.0", "pass", ONE),
    (OneProcess.gradient, "self.grad[self.frozen] = 0.0", "pass", ONE),
    (OneProcess.normalizer, "sum(map(self.count, batches))", "self.count(batches[0])", EACH),
    (OneProcess.gradient, "global_norm(self.grad)", "global_norm(self.grad) ** 2", ONE),
    (DataParallel.update, "self.optimizer.step += 1", "self.optimizer.step = 1", EACH[1:]),
    (DataParallel._shard, "self.gradients[index][:] = 0.0", "pass", EACH[1:]),
    (DataParallel._add, "g += other[s]", "pass", EACH[1:]),
    (DataParallel._add, "g[self.frozen[s]] = 0.0", "pass", EACH[1:]),
    (DataParallel._update, "self.optimizer.update_chunks(part, self.grad, step, lr, scale)",
     "self.optimizer.update_chunks(part, self.grad, 1, lr, scale)", EACH[1:]),
    (DataParallel._shared_out, "n_chunks * i // n", "n_chunks * i // (n + 1)", SHARDS),
]  # fmt: skip


CASES = [(way, *mistake) for *mistake, ways in MISTAKES for way in ways]


@pytest.mark.parametrize(
    ("way", "function", "before", "after"),
    CASES,
    ids=[f"{f.__qualname__} {after} {way}" for way, f, _, after in CASES],
)
def test_a_mistake_on_the_way_is_seen(way, function, before, after):
    mutant = edited(function, "on the way", {before: after})
    with np.errstate(all="ignore"):
        found = implanted(mutant, trained)(way)
    assert not np.allclose(found, formula(), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_no_number_changes_nothing(clip):
    bad = VECTORS[6].copy()
    bad[0] = np.nan
    theta, p = pack({"w": START.copy()})
    optimizer = Optimizer("adam", theta, None)
    model = OneProcess((forward, backward), theta, p, count, optimizer=optimizer)
    loop = training_loop(
        model, lambda step: [{"vectors": bad if step == 3 else VECTORS[step]}], learning_rate,
        steps=range(STEPS), clip=clip, seed=0,
    )  # fmt: skip
    for _ in range(3):
        next(loop)
    before = theta.copy()
    with pytest.raises(TrainingDiverged, match="loss nan and gradient norm nan at step 3"):
        next(loop)
    np.testing.assert_array_equal(theta, before)
    assert optimizer.step == 3
