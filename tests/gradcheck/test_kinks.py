"""§A Kinks: where there is no derivative an entry is set aside, named, and proven off the kink."""

import numpy as np
import pytest

from numpylm.gradcheck.check import WrongGradient, check_gradients


def forward(p, x):
    z = x @ p["W"] + p["b"]
    return np.maximum(z, 0.0), (x, z)


def backward(p, dy, cache, right=lambda dz, z: dz * (z > 0)):
    x, z = cache
    dz = right(dy, z)
    return dz @ p["W"].T, {"W": x.T @ dz, "b": dz.sum(axis=0)}


@pytest.fixture
def padded(rng):
    """Rows of padding and a bias of 0: ReLU stands at exactly 0 there."""
    x = rng.standard_normal((6, 4))
    x[4:] = 0.0
    return {"W": rng.standard_normal((4, 3)), "b": np.zeros(3)}, x


@pytest.mark.parametrize("mode", ["directions", "coordinates"])
def test_a_right_relu_passes_at_its_kink(padded, mode):
    errors = check_gradients(forward, backward, *padded, returns_dp=True, mode=mode)
    kinks = {e.name: e.kinks for e in errors}
    assert kinks == {
        "W": (),
        "b": ((0,), (1,), (2,)),
        "input 0": tuple((i, j) for i in (4, 5) for j in range(4)),
    }
    assert "8 entries at a kink set aside: [4, 0], [4, 1]" in str(errors[-1])


@pytest.mark.parametrize("mode", ["directions", "coordinates"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda dz, z: dz,
        lambda dz, z: dz * (z > 0) * 1.001,
        lambda dz, z: dz * (z < 0),
        lambda dz, z: dz * (np.abs(z) > 0),
        lambda dz, z: dz * (z > 0) * (1 + (np.arange(len(z)) == 2))[:, None],
    ],
)
def test_a_mutant_beside_a_kink_is_caught(padded, mode, wrong):
    def mutant(p, dy, cache):
        return backward(p, dy, cache, wrong)

    with pytest.raises(WrongGradient, match="input 0"):
        check_gradients(forward, mutant, *padded, returns_dp=True, mode=mode)


def test_a_mutant_that_is_wrong_only_where_the_kinks_were_is_caught(padded):
    """Here all that is compared at the kink is right: moved off it, the rows show the mistake."""

    def mutant(p, dy, cache):
        dx, dp = backward(p, dy, cache)
        dx[4:] *= 2.0
        return dx, dp

    with pytest.raises(WrongGradient, match="input 0"):
        check_gradients(forward, mutant, *padded, returns_dp=True)


def test_the_bias_of_a_smooth_layer_has_no_kinks(padded):
    def smooth(p, x):
        y = np.tanh(x @ p["W"] + p["b"])
        return y, (x, y)

    def right(p, dy, cache):
        x, y = cache
        return backward(p, dy * (1 - y**2), (x, np.ones_like(y)))

    assert not any(e.kinks for e in check_gradients(smooth, right, *padded, returns_dp=True))
