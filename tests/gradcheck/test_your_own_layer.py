"""The check on layers that know nothing of this library: plain functions, dictionaries, classes.

One wrong layer of each family, next to the right one: the right one passes, the wrong one is
caught, the array named, and the likely cause where there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numpylm import check_gradients
from numpylm.gradcheck import WrongGradient
from numpylm.gradcheck.diagnosis import NO_CAUSE

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4))
IDS = np.array([[0, 2, 2, 5, 1], [2, 0, 3, 3, 1], [5, 5, 5, 0, 2]])  # repeats, and no 4


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Linear:
    """As many write it: state on the object. The adapter is two lines."""

    def __init__(self, weights, bug):
        self.W, self.b, self.bug = weights["W"], weights["b"], bug

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        dW = np.einsum("bti,btj->ij", self.x, dy)
        self.dW = dW.T if self.bug else dW
        self.db = dy.sum(axis=(0, 1))
        return dy @ self.W.T


def linear(bug):
    def forward(p, x):
        layer = Linear(p, bug)
        return layer.forward(x), layer

    def backward(p, dy, layer):
        return layer.backward(dy), {"b": layer.db, "W": layer.dW}  # in any order

    return forward, backward, {"W": RNG.normal(size=(4, 4)), "b": RNG.normal(size=4)}, (X,), {}


def embedding(bug):
    def forward(p, ids):
        return p["table"][ids], ids

    def backward(p, dy, ids):
        d = np.zeros_like(p["table"])
        if bug:
            d[ids] += dy  # repeated ids: only the last one counts
        else:
            np.add.at(d, ids, dy)
        return None, {"table": d}

    return forward, backward, {"table": RNG.normal(size=(6, 4))}, (IDS,), {}


def norm(bug):
    def forward(p, x):
        r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
        return p["scale"] * x * r, (x, r)

    def backward(p, dy, cache):
        x, r = cache
        g = dy if bug else p["scale"] * dy  # the scale belongs inside the mean
        dx = r * (g - x * r * r * (g * x).mean(-1, keepdims=True))
        return p["scale"] * dx if bug else dx, {"scale": (dy * x * r).sum((0, 1))}

    return forward, backward, {"scale": RNG.uniform(0.5, 1.5, size=4)}, (X,), {}


def activation(bug):
    def forward(x):
        y = 1 / (1 + np.exp(-x))
        return y, y

    return forward, lambda dy, y: dy * y * (y - 1 if bug else 1 - y), None, (X,), {}


def attention(bug):
    def forward(q, k, v):
        a = softmax(q @ k.swapaxes(-2, -1) / 2)  # d_k = 4
        return a @ v, (q, k, v, a)

    def backward(dy, cache):
        q, k, v, a = cache
        da = dy @ v.swapaxes(-2, -1)
        ds = a * (da - (da * a).sum(-1, keepdims=True)) / 2
        return (2 if bug else 1) * ds @ k, ds.swapaxes(-2, -1) @ q, a.swapaxes(-2, -1) @ dy

    inputs = (X, RNG.normal(size=(3, 7, 4)), RNG.normal(size=(3, 7, 6)))
    return forward, backward, None, inputs, {}


def dropout(bug):
    def forward(x, rng):
        keep = rng.random(x.shape) >= 0.3
        return x * keep / 0.7, keep

    return (
        forward,
        lambda dy, keep: dy * keep / (1 if bug else 0.7),
        None,
        (X,),
        {
            "rng": np.random.RandomState(3)  # old or new generator: the check repeats it
        },
    )


def residual(bug):
    def forward(p, x):
        y = np.tanh(x @ p["inner"]["W"])
        return x + y, (x, y)

    def backward(p, dy, cache):
        x, y = cache
        dz = dy * (1 - y * y)
        dx = dz @ p["inner"]["W"].T
        return dx if bug else dy + dx, {"inner": {"W": np.einsum("bti,btj->ij", x, dz)}}

    return forward, backward, {"inner": {"W": RNG.normal(size=(4, 4))}}, (X,), {}


def loss(bug):
    def forward(logits, targets):
        p = softmax(logits)
        picked = p.reshape(-1, 4)[np.arange(15), targets.ravel() % 4]
        return float(-np.log(picked).mean()), (p, targets.ravel() % 4)

    def backward(dloss, cache):
        p, targets = cache
        d = p.reshape(-1, 4).copy()
        d[np.arange(15), targets] -= 1
        return dloss * (d if bug else d / 15).reshape(p.shape)

    return forward, backward, None, (X, IDS), {}


def language_model(bug):
    """Token i predicts token i + 1, output tied to the embedding; a list of hidden layers."""

    def forward(p, ids):
        h = [p["table"][ids[:, :-1]]]
        for layer in p["layers"]:
            h.append(np.tanh(h[-1] @ layer["W"]))
        a = softmax(h[-1] @ p["table"].T)
        picked = np.take_along_axis(a, ids[:, 1:, None], -1)
        return -np.log(picked).mean(), (ids, h, a)

    def backward(p, dloss, cache):
        ids, h, a = cache
        d = a.copy()
        np.put_along_axis(d, ids[:, 1:, None], np.take_along_axis(a, ids[:, 1:, None], -1) - 1, -1)
        d *= dloss / ids[:, 1:].size
        dtable = np.zeros_like(p["table"])
        if not bug:
            dtable += np.einsum("btv,btd->vd", d, h[-1])  # the share of the output layer
        d = d @ p["table"]
        grads = []
        for layer, x, y in zip(p["layers"][::-1], h[-2::-1], h[:0:-1], strict=True):
            d = d * (1 - y * y)
            grads.insert(0, {"W": np.einsum("bti,btj->ij", x, d)})
            d = d @ layer["W"].T
        np.add.at(dtable, ids[:, :-1], d)
        return None, {"table": dtable, "layers": grads}

    layers = [{"W": RNG.normal(size=(4, 4))} for _ in range(2)]
    return forward, backward, {"table": RNG.normal(size=(6, 4)), "layers": layers}, (IDS,), {}


FAMILIES = [
    (linear, "W", "likely: transposed"),
    (embedding, "table", NO_CAUSE),
    (norm, "input 0", NO_CAUSE),
    (activation, "input 0", "likely: the sign"),
    (attention, "input 0", "2 times the right one everywhere"),
    (dropout, "input 0", "0.7 times the right one everywhere"),
    (residual, "input 0", "dy itself is missing"),
    (loss, "input 0", "15 times the right one everywhere (15 is axes 0 to 1 of input 0 (3, 5, 4)"),
    (language_model, "table", NO_CAUSE),
]


@pytest.mark.parametrize(
    ("family", "array", "likely"), FAMILIES, ids=lambda f: getattr(f, "__name__", "")
)
def test_a_wrong_layer_of_each_family_is_caught_and_the_array_named(family, array, likely):
    forward, backward, p, inputs, settings = family(bug=False)
    settings["returns_dp"] = p is not None
    errors = check_gradients(forward, backward, p, *inputs, **settings)
    assert max(e.relative_error for e in errors) < 1e-7
    assert not any(e.cause for e in errors)
    forward, backward, p, inputs, settings = family(bug=True)
    with pytest.raises(WrongGradient, match=rf"1 of {len(errors)} gradients are wrong") as caught:
        check_gradients(forward, backward, p, *inputs, returns_dp=p is not None, **settings)
    assert f"\n  {array} " in str(caught.value)
    assert likely in str(caught.value)


def matrix(dW):
    """x W, with a backward that adds into dp as ``dW(dp, true gradient)`` says."""

    def backward(p, dp, dy, x):
        dW(dp, x.T @ dy)
        return dy @ p["W"].T

    p = {"W": RNG.normal(size=(4, 3))}
    return lambda p, x: (x @ p["W"], x), backward, p, RNG.normal(size=(5, 4))


def assigns(dp, g):
    dp["W"][...] = g


def rebinds(dp, g):
    dp["W"] = dp["W"] + g


def adds_twice(dp, g):
    dp["W"] += 2 * g


def shifts(dp, g):
    dp["W"] += np.roll(g, 1, axis=0)


def transposes(dp, g):
    dp["W"] += g.T.reshape(g.shape)


def divides(dp, g):
    dp["W"] += g / 5


def scales(dp, g):
    dp["W"] += g / np.sqrt(3)


def overflows(dp, g):
    dp["W"] += np.inf


@pytest.mark.parametrize(
    ("mistake", "likely"),
    [
        (assigns, "= in place of +=: what dp held before is lost"),
        (rebinds, "nothing arrives: cut off, or dp replaced and not added to in place"),
        (adds_twice, "2 times the right one everywhere (added twice)"),
        (shifts, "shifted by one along axis 0"),
        (transposes, "transposed, then reshaped to fit"),
        (divides, "(5 is axis 0 of y (5, 3): a missing or stray 1/N, mean or sum?)"),
        (scales, "(√3 is that of axis 1 of y (5, 3): a missing or stray scale?)"),
        (overflows, "it holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("mode", ["directions", "coordinates"])
def test_the_likely_cause_is_the_cause(mistake, likely, mode):
    forward, backward, p, x = matrix(mistake)
    with pytest.raises(WrongGradient) as caught, np.errstate(invalid="ignore"):
        check_gradients(forward, backward, p, x, mode=mode)
    assert likely in str(caught.value)
    check_gradients(*matrix(lambda dp, g: dp["W"].__iadd__(g)), mode=mode)


def test_gradients_in_the_wrong_order_are_named():
    a, b = RNG.normal(size=(2, 3, 4))
    with pytest.raises(WrongGradient, match="in the wrong order: the gradient given for input 1"):
        check_gradients(
            lambda a, b: (a * b, (a, b)), lambda dy, c: (dy * c[0], dy * c[1]), None, a, b
        )


def test_float32_inside_is_named():
    def forward(x):
        return np.exp(x.astype(np.float32)), x

    with pytest.raises(WrongGradient, match="float32 somewhere"):
        check_gradients(forward, lambda dy, x: dy * np.exp(x), None, X)


def test_an_input_that_does_not_matter_is_named():
    with pytest.raises(WrongGradient, match="input 1.*the output does not depend on this array"):
        check_gradients(lambda a, b: (a + 0, None), lambda dy, c: (dy, dy), None, X, X)


def test_a_forward_that_draws_its_own_random_numbers_is_refused():
    noise = np.random.default_rng()
    with pytest.raises(ValueError, match="a second forward on the same inputs differs"):
        check_gradients(lambda x: (x + noise.random(), None), lambda dy, c: dy, None, X)


def test_a_gradient_that_is_not_returned_is_named():
    forward, _, p, x = matrix(assigns)
    with pytest.raises(WrongGradient, match=r"returns dp of \['w'\], p has \['W'\]"):
        check_gradients(forward, lambda p, dy, x: (dy, {"w": 0 * dy}), p, x, returns_dp=True)


def test_the_example_of_the_readme(tmp_path):
    """It has a bug; what it prints is what the README says."""
    section = README[README.index("## Check your own layer") :]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (printed,) = re.findall(
        r"```text\n(.*?)```", section[: section.index("\n## ", 5)], flags=re.DOTALL
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.endswith(printed)
    fixed = code.replace("dy.mean(axis=0)", "dy.sum(axis=0)")
    assert fixed != code
    exec(fixed, {})
