"""§5.2 Presets: their warm-up follows the number of steps."""

import pytest

from numpylm.training.presets import PRESETS, preset, warmup_of


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("steps", [1, 2, 50, 300])
def test_a_short_run_reaches_its_learning_rate(name, steps):
    from dataclasses import replace

    start = preset(name)
    config = replace(start, steps=steps, **warmup_of({"steps": steps}, start))
    assert max(config.learning_rate(t) for t in range(steps)) == pytest.approx(start.lr)


def test_the_warm_up_keeps_its_share():
    start = preset("tiny")
    assert warmup_of({"steps": 50}, start) == {"warmup": 2}  # 100 of 2000
    assert warmup_of({}, start) == warmup_of({"steps": 4000}, start) == {}
    assert warmup_of({"steps": 50, "warmup": 10}, start) == {}


@pytest.mark.parametrize("given", [{"steps": 5, "warmup": 5}, {"warmup": 2000}])
def test_a_warm_up_as_long_as_the_run_is_refused(given):
    with pytest.raises(ValueError, match=r"warmup is \d+ of \d+ steps: lr is never reached"):
        warmup_of(given, preset("tiny"))
