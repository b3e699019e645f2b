"""§3.3 Scores against figures worked out by hand."""

import pytest

from numpylm.tasks.scores import accuracy, is_bio, macro_f1, span_f1, token_accuracy, token_f1


def test_accuracy():
    assert accuracy(["a", "b", "c", "a"], ["a", "b", "b", "c"]) == 0.5


def test_macro_f1_is_the_mean_over_labels():
    # a: 1 hit of 2 predicted, 1 wanted; b: 1 hit of 1, 2; c: 0 hits
    assert macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert macro_f1(["a", "c"], ["a", "b"]) == pytest.approx(1 / 3)


def test_token_accuracy_counts_places_of_the_reference():
    assert token_accuracy(["a b c d", "x"], ["a c c", "x y"]) == 3 / 5
    assert token_accuracy([""], [""]) == 1.0


def test_token_f1_takes_bags():
    assert token_f1(["the old mill"], ["old mill"]) == pytest.approx(2 * 2 / 5)
    assert token_f1(["a a b", "x", ""], ["a b b", "y", ""]) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_a_span_must_be_right_as_a_whole():
    wanted = [["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]]
    assert span_f1(wanted, wanted) == 1.0
    assert span_f1([["B-PER", "O", "O", "B-LOC", "I-LOC"]], wanted) == 0.0
    # one of three found, two predicted: 2 · 1 / (2 + 3)
    assert span_f1([["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]], wanted) == pytest.approx(2 / 5)
    assert span_f1([["I-PER", "I-PER", "O", "I-LOC", "B-LOC"]], wanted) == 1.0
    assert span_f1([["O"]], [["O"]]) == 1.0
    assert span_f1([["O", "I-"]], [["O", "B-"]]) == 1.0  # a kind without a name is a kind


@pytest.mark.parametrize("places", ["BIES", "BILU"])
def test_spans_of_other_schemes(places):
    b, i, e, s = (f"{c}-X" for c in places)
    wanted = [[b, i, e, s, s, "O", b, e, b, e]]
    assert is_bio(set(wanted[0]))
    assert span_f1(wanted, wanted) == 1.0
    # the first two of five spans are found, one that is predicted is wrong: 2 · 4 / (5 + 5)
    assert span_f1([[b, i, e, s, s, "O", b, e, s, "O"]], wanted) == pytest.approx(2 * 4 / 10)
    assert span_f1([["", "", "", s, s, "O", b, e, b, e]], wanted) == pytest.approx(2 * 4 / 9)
    bio = [["B-X", "I-X", "I-X", "B-X", "B-X", "O", "B-X", "I-X", "B-X", "I-X"]]
    assert span_f1(bio, wanted) == 1.0  # the same spans in other letters


def test_an_empty_prediction_is_no_label():
    assert macro_f1(["a", "", ""], ["a", "a", "b"], none="") == pytest.approx((2 / 3 + 0) / 2)


def test_bio_labels_are_recognised():
    assert not is_bio({"O", "S-PER", "U-PER"})  # of two schemes
    assert is_bio({"O", "B-PER", "I-PER"})
    assert not is_bio({"O"})
    assert not is_bio({"O", "B-PER", "keyword"})


@pytest.mark.parametrize("metric", [accuracy, macro_f1, token_accuracy, token_f1, span_f1])
def test_lengths_must_agree(metric):
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        metric(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 predictions for 0 references"):
        metric([], [])
