"""§3.1 The encoder: it sees everything but padding, and no order without positions."""

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.config import StackConfig
from numpylm.models.encoder import encoder_forward, encoder_init


def stack(**choices):
    config = StackConfig(n_layers=2, n_heads=2, d_model=8, d_ff=10, **choices)
    rng = np.random.default_rng(0)
    _, p = jittered(encoder_init(rng, config), rng)
    return config, p


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_without_positions_order_does_not_matter(rng, norm):
    config, p = stack(norm=norm)
    x, order = rng.standard_normal((2, 6, 8)), rng.permutation(6)
    y, _ = encoder_forward(p, x, config=config)
    shuffled, _ = encoder_forward(p, x[:, order], config=config)
    np.testing.assert_allclose(shuffled, y[:, order], rtol=1e-10)


def test_every_position_sees_every_other(rng):
    config, p = stack()
    x = rng.standard_normal((1, 6, 8))
    y, _ = encoder_forward(p, x, config=config)
    x[0, 5, 0] += 1.0
    changed, _ = encoder_forward(p, x, config=config)
    assert (np.abs(changed - y).max(axis=-1) > 1e-6).all()


def test_padding_changes_nothing(rng):
    config, p = stack()
    x = rng.standard_normal((1, 6, 8))
    mask = np.arange(6)[None] < 4
    y, _ = encoder_forward(p, x, config=config, mask=mask)
    short, _ = encoder_forward(p, x[:, :4], config=config)
    np.testing.assert_allclose(y[:, :4], short, rtol=1e-10)
