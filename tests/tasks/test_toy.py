"""§3.3 Copy, reverse and sort: right answers, unseen tests."""

import pytest

from numpylm.tasks import toy

ANSWERS = {
    "copy": lambda tokens: tokens,
    "reverse": lambda tokens: [tokens[-1 - i] for i in range(len(tokens))],
    "sort": sorted,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_target_is_the_answer_to_its_source(name, load_default):
    dataset = load_default(name)
    assert dataset.counts == {"train": 20_000, "valid": 500, "test": 1_000}
    pairs = dataset.train + dataset.valid + dataset.test
    assert len({pair.source for pair in pairs}) == len(pairs)  # none is in two parts
    for pair in pairs:
        assert pair.target.split() == ANSWERS[name](pair.source.split())
    lengths = {len(pair.source.split()) for pair in dataset.test}
    assert {3, 4, 5, 6, 7, 8, 9, 10} <= lengths <= set(range(1, 11))
    assert len({symbol for pair in pairs for symbol in pair.source.split()}) == 20


def test_seeds_repeat_and_differ():
    sizes = (100, 10, 10)
    assert toy.load(sizes=sizes, seed=1).sha256 == toy.load(sizes=sizes, seed=1).sha256
    assert toy.load(sizes=sizes, seed=1).sha256 != toy.load(sizes=sizes, seed=2).sha256


def test_scores_and_baseline():
    dataset = toy.load(sizes=(10, 5, 200), length=3, symbols=12)
    palindromes = sum(pair.source == pair.source[::-1] for pair in dataset.test)
    assert 0 < palindromes < 200
    assert toy.baselines(dataset) == {"copy the source": palindromes / 200}
    assert toy.score(["a b", "c"], ["a b", "d"]) == {
        "exact_match": 0.5,
        "token_accuracy": 2 / 3,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "x.tsv"}, "only generated, not 'x.tsv'"),
        ({"operation": "rotate"}, "'rotate' is none of copy, reverse, sort"),
        ({"symbols": 27}, "symbols=27"),
        ({"symbols": 2, "length": 4, "sizes": (10, 3, 3)}, "16 is more than half of the 30"),
    ],
)
def test_what_cannot_be_made_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        toy.load(**settings)
