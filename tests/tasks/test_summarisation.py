"""§3.3 Summaries: of documentation, from TSV; ROUGE and its floors."""

import builtins

import pytest

from numpylm.data import pydoc
from numpylm.data.words import split_text
from numpylm.tasks import summarisation
from numpylm.tasks.dataset import Dataset, Pair


@pytest.fixture
def dataset(load_default):
    return load_default("summarisation")


def parts_of(dataset):
    return dataset.train, dataset.valid, dataset.test


def test_summaries_are_first_lines_of_their_docstrings(dataset):
    first_lines = {
        split_text(text.strip().split("\n\n")[0]) for _, text in pydoc.stdlib_docstrings()
    }
    pairs = [pair for part in parts_of(dataset) for pair in part]
    assert len(pairs) > 1_000
    assert len({pair.source for pair in pairs}) == len(pairs)
    for source, target in pairs:
        assert target in first_lines
        assert 3 <= len(target.split()) <= 20
        assert 8 <= len(source.split()) <= 100
        assert target.isascii()


def test_no_file_is_in_two_parts(dataset):
    files = {}
    for file, text in pydoc.stdlib_docstrings():
        body = text.strip().partition("\n\n")[2]
        source = " ".join(split_text(" ".join(pydoc.prose(body))).split()[:100])
        files.setdefault(source, set()).add(file)
    parts = [[files[pair.source] for pair in part] for part in parts_of(dataset)]
    alone = [{next(iter(f)) for f in part if len(f) == 1} for part in parts]
    assert not alone[0] & alone[1]
    assert not alone[0] & alone[2]
    assert not alone[1] & alone[2]
    assert min(map(len, alone)) >= 10
    total = sum(dataset.counts.values())
    assert 0.08 < len(dataset.test) / total < 0.12


def test_loads_repeat_and_settings_count(dataset):
    assert summarisation.load().sha256 == dataset.sha256
    assert summarisation.load(seed=1).sha256 != dataset.sha256
    short = summarisation.load(longest_text=12, longest_summary=6)
    for source, target in (pair for part in parts_of(short) for pair in part):
        assert len(source.split()) <= 12
        assert len(target.split()) <= 6
    with pytest.raises(ValueError, match="longest_text=0"):
        summarisation.load(longest_text=0)


def test_what_is_a_summary(monkeypatch):
    body = "This body is a paragraph of some nine words."
    docs = [
        (
            "a.py",
            f"Read the file.\n\n{body}\n\n>>> code()\n\nA second one of at least eight words.",
        ),
        ("b.py", f"read(file) -> text\n\n{body} B."),  # code
        ("c.py", f"Two words\n\n{body} C."),
        ("d.py", "Has no body at all."),
        ("e.py", f"Read the file.\n\n{body} It is followed by another sentence."),
        ("f.py", f"Close\nthe file.\n\n{body} So much for this."),
    ]
    monkeypatch.setattr(summarisation, "stdlib_docstrings", lambda: docs)
    dataset = summarisation.load()
    pairs = sorted(pair for part in parts_of(dataset) for pair in part)
    start = "this body is a paragraph of some nine words ."
    assert pairs == [
        Pair(f"{start} a second one of at least eight words .", "read the file ."),
        Pair(f"{start} it is followed by another sentence .", "read the file ."),
        Pair(f"{start} so much for this .", "close the file ."),
    ]
    monkeypatch.setattr(summarisation, "stdlib_docstrings", lambda: docs[:5])
    with pytest.raises(ValueError, match="no documentation"):
        summarisation.load()


def test_tables(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("\n".join(f"Text {i // 2}, long.\tShort {i}!\textra" for i in range(200)))
    dataset = summarisation.load(path, longest_text=3)
    assert dataset.counts == {"train": 180, "valid": 10, "test": 10}
    assert all(pair.source.endswith(" ,") for pair in dataset.test)
    assert {pair.source for pair in dataset.train}.isdisjoint(p.source for p in dataset.test)
    path.write_text("Text\tShort\nText only\n")
    with pytest.raises(ValueError, match=r"texts.tsv:2: expected 2 columns"):
        summarisation.load(path)


def test_baselines_on_figures_worked_out_by_hand():
    pytest.importorskip("rouge_score", reason="ROUGE needs rouge-score")
    train = [Pair("x", "one two"), Pair("y", "one two three four")]  # 3 words on average
    test = [Pair("a b c d . e f", "a b d"), Pair("no end", "no")]
    # first sentence: a b c d has a b d in order, F1 = 2 · 3 / (4 + 3); "no end": 2 · 1 / (2 + 1)
    # first 3 words: a b c has a b, F1 = 2 · 2 / (3 + 3); "no end" as before
    figures = summarisation.baselines(Dataset("x", train, [], test))
    assert figures == {
        "first sentence": pytest.approx((6 / 7 + 2 / 3) / 2),
        "first 3 words": pytest.approx((2 / 3 + 2 / 3) / 2),
    }


def test_the_baselines_are_far_from_right(dataset):
    pytest.importorskip("rouge_score", reason="ROUGE needs rouge-score")
    figures = summarisation.baselines(dataset)
    assert all(0.05 < figure < 0.25 for figure in figures.values())


def test_scores():
    pytest.importorskip("rouge_score", reason="ROUGE needs rouge-score")
    scored = summarisation.score(["b a !"], ["a b ."])
    assert list(scored) == ["rougeL", "rouge1", "rouge2", "token_f1", "exact_match"]
    assert scored == {  # punctuation counts for token F1 alone
        "rougeL": 0.5,
        "rouge1": 1.0,
        "rouge2": 0.0,
        "token_f1": pytest.approx(2 / 3),
        "exact_match": 0.0,
    }
    assert summarisation.rouge(["我 們"], ["我 們"])["rougeL"] == 1.0


def test_on_english_words_the_split_is_that_of_the_package():
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="ROUGE needs rouge-score")
    own = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    p, r = split_text("The cat's mat, 3.5 m; it sat."), split_text("It's the cat: 3.5 (mats) sat!")
    expected = {name: s.fmeasure for name, s in own.score(r, p).items()}
    assert summarisation.rouge([p], [r]) == pytest.approx(expected)


def test_without_the_package_only_rouge_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("rouge_score"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert summarisation.score(["a"], ["a"]) == {"token_f1": 1.0, "exact_match": 1.0}
    with pytest.raises(ValueError, match=r"pip install numpylm\[scores\]"):
        summarisation.rouge(["a"], ["a"])
