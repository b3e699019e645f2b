"""The gradient check fails when a backward is wrong: every published bug, hundreds of mistakes."""

import gc
import json
import sys
import types
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from numpylm import parameters
from numpylm.cli import main
from numpylm.gradcheck import catalogue
from numpylm.gradcheck.audit import backwards_of, public_backwards
from numpylm.gradcheck.mutation import report
from numpylm.gradcheck.mutation.engine import edited, implanted
from numpylm.gradcheck.mutation.operators import mutants_of
from numpylm.gradcheck.mutation.published_bugs import ADAM_STEP, BUGS, optimizer_error, with_bug
from numpylm.gradcheck.mutation.report import EQUIVALENT, MutationAudit, summary
from numpylm.gradcheck.mutation.weak_checks import WEAK_CHECKS
from numpylm.layers import activations, attention, feed_forward
from numpylm.layers.linear import linear_backward
from numpylm.optim.optimizer import Optimizer

# The array that must betray each published bug.
BETRAYED = {
    "dK transposed, then reshaped": "input 1",
    "tied weights: the head's share dropped": "tokens.weight",
    "dV from the weights before dropout": "input 2",
    "dropout forgotten on the way to the softmax": "input 1",
    "γ outside the two means": "input 0",
    "softmax divided by the batch size": "input 0",
    "1/N missing: a sum in place of a mean": "input 0",
    "1/N of all positions, ignored ones too": "input 0",
    "a second dropout mask overwrites the first": "self_attention.output.bias",
    "token embedding cut off": "tokens.weight",
    "segment embedding cut off": "segments.weight",
    "position embedding cut off": "positions.weight",
    "NSP cut off from the encoder": "",  # many arrays; which is worst says nothing
    "repeated ids: only the last one counts": "weight",
    "rotary: the other pairing": "input 0",
    "rotary: turned on, not back": "input 0",
    "grouped queries: one of a group, not their sum": "",  # keys, values and what is below
}
LIKELY = {
    "dK transposed, then reshaped": "transposed, then reshaped",
    "softmax divided by the batch size": "0.333333 times the right one everywhere (3 is axis",
    "1/N missing: a sum in place of a mean": "12 times the right one",
    "1/N of all positions, ignored ones too": "0.8 times the right one",
    "position embedding cut off": "nothing arrives",
}


@pytest.fixture(scope="module")
def audit():
    return MutationAudit(catalogue.PAIRS)


@pytest.mark.parametrize("bug", BUGS, ids=[f"{b.title} {b.function.__name__}" for b in BUGS])
def test_a_published_bug_is_caught_and_the_array_named(audit, bug):
    row = audit.check(bug.mutant, bug.origin)
    assert row.verdict == "caught", str(row)
    assert row.array.endswith(BETRAYED[bug.title])
    assert row.relative_error > 1e-2
    assert LIKELY.get(bug.title, "") in row.note
    assert row.array in str(row)


def test_the_step_counter_of_adam_is_held_against_the_formula():
    assert optimizer_error(Optimizer) < 1e-12
    assert optimizer_error(with_bug(ADAM_STEP)) > 0.1


@pytest.mark.parametrize("check", WEAK_CHECKS, ids=[check.title for check in WEAK_CHECKS])
def test_a_check_that_cannot_fail_passes_what_ours_catches(audit, check):
    assert check.passes
    assert audit.check(check.bug.mutant).verdict == "caught"


def test_a_weak_check_with_teeth_sees_the_bug():
    """The re-enacted test of numpyGPT is one with an absolute tolerance, not one of nothing."""
    (check,) = [c for c in WEAK_CHECKS if c.title.startswith("weights of 0.02")]
    sign = edited(attention.attention_backward, "-", {"dq = dscores @ k": "dq = 1e3 * dscores @ k"})
    assert not check.check(types.SimpleNamespace(mutant=sign))


SMALL = ("linear", "layer_norm", "softmax", "embedding", "dropout", "learned_positions", "relu")


@pytest.mark.parametrize("name", SMALL)
def test_every_mistake_in_a_layer_is_caught(audit, name):
    rows = [audit.check(m) for m in mutants_of(public_backwards()[f"{name}_backward"])]
    counts = summary(rows)
    assert counts["caught"] >= 4
    assert counts["SURVIVES"] == counts["equivalent"] == 0


def functions():
    found = [f for f in gc.get_objects() if type(f) is types.FunctionType]  # asks no lazy module
    ours = [f for f in found if str(f.__module__).startswith("numpylm.")]
    return {id(f): (f, f.__code__) for f in ours}


def test_the_originals_are_untouched(audit):
    before = functions()
    modules = {id(f.__globals__): (f.__globals__, dict(f.__globals__)) for f, _ in before.values()}
    for bug in BUGS:
        audit.check(bug.mutant)
    with_bug(ADAM_STEP)
    assert all(f.__code__ is code for f, code in before.values())
    for now, then in modules.values():
        assert now.keys() == then.keys()
        assert all(now[name] is value for name, value in then.items())


def test_whoever_calls_the_function_gets_the_mutant(rng):
    """Also through a table of functions, and in a composite of composites."""
    (zero,) = [
        m for m in mutants_of(activations.relu_backward) if m.after == "return -(dy * (cache > 0))"
    ]
    p = feed_forward.feed_forward_init(rng, 4, 6)
    theta, p = parameters.pack(p, np.float64)
    x, dy = rng.standard_normal((2, 2, 3, 4))
    _, cache = feed_forward.feed_forward_forward(p, x, activation="relu")
    wrong = implanted(zero, feed_forward.feed_forward_backward)
    right_dp, dp = (parameters.view(p, np.zeros_like(theta)) for _ in range(2))
    right = feed_forward.feed_forward_backward(p, right_dp, dy, cache)
    np.testing.assert_array_equal(wrong(p, dp, dy, cache), -right)
    np.testing.assert_array_equal(dp.hidden.weight, -right_dp.hidden.weight)
    np.testing.assert_array_equal(dp.output.weight, right_dp.output.weight)


@dataclass
class Scale:
    factor: float
    other: float

    def forward(self, x):
        return self.factor * x, x

    def backward(self, dp, dy, cache):
        dp.factor += (dy * cache).sum()
        return self.factor * dy


@dataclass
class Shift:
    amount: float


def union_backward(p: Scale | Shift, dp: Scale | Shift, dy, cache):
    dx = p.factor * dy
    dp.factor += (p.other * dy * cache).sum()
    return dx


class Record(NamedTuple):
    pairs: dict[str, tuple]


TABLE = {"scale": Record({"plain": (Scale.forward, Scale.backward)})}


def through_the_table(p, dp, dy, cache):
    return TABLE["scale"].pairs["plain"][1](p, dp, dy, cache)


def test_a_method_in_a_table_of_records_is_mutated_like_a_function():
    x, dy, right, wrong = np.arange(3.0), np.ones(3), Scale(0.0, 0.0), Scale(0.0, 0.0)
    mutants = {m.after: m for m in mutants_of(Scale.backward)}
    sign = mutants["dp.factor -= (dy * cache).sum()"]
    assert sign.name == "Scale.backward"
    through_the_table(Scale(2.0, 1.0), right, dy, x)
    implanted(sign, through_the_table)(Scale(2.0, 1.0), wrong, dy, x)
    assert (right.factor, wrong.factor) == (3.0, -3.0)
    assert backwards_of(sys.modules[__name__]) == {
        "Scale.backward": Scale.backward, "union_backward": union_backward
    }  # fmt: skip


def test_a_parameter_of_several_types_has_the_neighbours_of_each():
    assert "dx = p.other * dy" in {m.after for m in mutants_of(union_backward)}


def test_what_the_mistakes_are():
    made = {(m.mistake, m.after) for m in mutants_of(linear_backward)}
    assert {
        ("term or factor dropped", "pass"),
        ("= for +=", "dp.bias[...] = rows_dy.sum(axis=0)"),
        ("sign", "dp.bias -= rows_dy.sum(axis=0)"),
        ("factor 1.001", "dp.bias += 1.001 * rows_dy.sum(axis=0)"),
        ("mean for sum", "dp.bias += rows_dy.mean(axis=0)"),
        ("wrong axis", "dp.bias += rows_dy.sum(axis=-1)"),
        ("sign", "dp.weight -= rows_x.T @ rows_dy"),
        ("factor 1.001", "dp.weight += 1.001 * (rows_x.T @ rows_dy)"),
    } <= made
    assert {"= for +=", "stray 1/N", "transposed"} <= {
        mistake for mistake, after in made if after.startswith("dp.weight")
    }
    changes = [m.after for m in mutants_of(attention.attention_backward)]
    assert "dscores = softmax_backward(dweights, weights) / q.shape[-1]" in changes
    assert "dscores = softmax_backward(dweights, dropped) / math.sqrt(q.shape[-1])" in changes
    assert len(changes) == len(set(changes))


def test_an_edit_must_stand_there_once():
    with pytest.raises(ValueError, match="linear_backward has no dx = 1"):
        edited(linear_backward, "", {"dx = 1": "pass"})
    with pytest.raises(ValueError, match="linear_backward: rows_dy stands there twice"):
        edited(linear_backward, "", {"rows_dy": "dy"})
    with pytest.raises(ValueError, match="changes nothing"):
        edited(linear_backward, "same", {"x = cache": "x = cache"})


def test_a_hole_in_the_catalogue_is_reported(monkeypatch, capsys):
    """Without a row that has a bias, nobody notices that its gradient is missing."""
    monkeypatch.setattr(catalogue, "PAIRS", [p for p in catalogue.PAIRS if "no bias" in p.name][:1])
    monkeypatch.setattr(report, "systematic_mutants", lambda: mutants_of(linear_backward))
    monkeypatch.setattr(report, "BUGS", [])
    monkeypatch.setattr(report, "WEAK_CHECKS", [])
    assert main(["gradcheck", "--mutants"]) == 1
    printed = capsys.readouterr().out
    assert "SURVIVES: linear_backward: dp.bias += rows_dy.sum(axis=0)  ->  pass" in printed
    assert "a hole in the check" in printed
    assert main(["gradcheck", "--mutants", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["summary"]["systematic"]["SURVIVES"] > 0


@pytest.mark.slow
def test_no_mistake_in_any_backward_survives(capsys):
    assert main(["gradcheck", "--mutants", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    systematic, counts = found["systematic"], found["summary"]["systematic"]
    assert counts["SURVIVES"] == 0
    assert counts["caught"] >= 0.98 * (counts["caught"] + counts["equivalent"])
    assert counts["caught"] >= 400
    caught = [row for row in systematic if row["verdict"] == "caught"]
    assert {row["function"] for row in caught} == set(public_backwards())
    assert all(row["array"] and row["relative_error"] > 1e-6 for row in caught)
    same = {row["note"] for row in systematic if row["verdict"] == "equivalent"}
    assert same == set(EQUIVALENT.values())
    assert found["summary"]["catalogued"] == {
        "caught": len(BUGS) + 1, "does not run": 0, "equivalent": 0, "SURVIVES": 0
    }  # fmt: skip
