"""§3.3 IBM model 1 against the figures of its two steps worked out by hand."""

import pytest

from numpylm.baselines.word_translation import train_word_table, translate_words


def plain_model_1(pairs, steps):
    """t[s][t] by nested loops, as the formulas are written."""
    pairs = [(s.split(), t.split()) for s, t in pairs]
    table = {(s, t): 1.0 for ss, ts in pairs for s in ss for t in ts}
    for _ in range(steps):
        counts = dict.fromkeys(table, 0.0)
        for source, target in pairs:
            for t in target:
                total = sum(table[s, t] for s in source)
                for s in source:
                    counts[s, t] += table[s, t] / total
        sums = {}
        for (s, _), c in counts.items():
            sums[s] = sums.get(s, 0.0) + c
        table = {(s, t): c / sums[s] for (s, t), c in counts.items()}
    return table


def test_words_that_always_occur_together_are_told_apart():
    pairs = [("the house", "das haus"), ("the book", "das buch"), ("a book", "ein buch")]
    table = train_word_table(pairs)
    assert table == {"the": "das", "house": "haus", "book": "buch", "a": "ein"}
    assert translate_words(table, "a red house") == "ein red haus"


@pytest.mark.parametrize("steps", [1, 3])
def test_the_best_entries_are_those_of_the_plain_loops(rng, steps):
    pairs = []
    for _ in range(30):
        source, target = rng.integers(6, size=4), rng.integers(7, size=3)
        pairs.append((" ".join(f"s{i}" for i in source), " ".join(f"t{i}" for i in target)))
    plain = plain_model_1(pairs, steps)
    for source, target in train_word_table(pairs, steps).items():
        best = max(p for (s, _), p in plain.items() if s == source)
        assert plain[source, target] == pytest.approx(best)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        train_word_table([])
