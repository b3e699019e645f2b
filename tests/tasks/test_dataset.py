"""§3.3 The answer of a question, and the checksum of examples."""

from numpylm.tasks.dataset import Dataset, Labelled, Pair, Question


def test_an_answer_is_the_words_of_its_span():
    assert Question("where ?", "she went to the old mill .", 4, 6).answer == "old mill"


def test_every_part_and_field_counts_for_the_checksum():
    pair = Pair("a", "b")
    parts = ([pair], [pair], [])
    digests = {
        Dataset("x", [pair], [pair], []).sha256,
        Dataset("x", [pair], [], [pair]).sha256,
        Dataset("x", [pair, pair], [], []).sha256,
        Dataset("x", [pair], [pair], [pair]).sha256,
        Dataset("x", [Pair("a", "c")], [pair], []).sha256,
    }
    assert len(digests) == 5
    assert Dataset("other name", *parts).sha256 in digests
    assert Dataset("x", *parts).counts == {"train": 1, "valid": 1, "test": 0}
    assert Dataset("x", [Labelled("é", "1")], [], []).sha256 == (
        Dataset("x", [Labelled("é", "1")], [], []).sha256
    )
