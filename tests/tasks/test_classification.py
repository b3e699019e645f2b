"""§3.3 Classification data: documentation, TSV and TREC; no file in two parts."""

from collections import Counter

import pytest

from numpylm.data import pydoc
from numpylm.data.words import split_text
from numpylm.tasks import classification
from numpylm.tasks.dataset import Dataset, Labelled


@pytest.fixture
def dataset(load_default):
    return load_default("classification")


def parts_of(dataset):
    return dataset.train, dataset.valid, dataset.test


def test_no_file_and_no_text_is_in_two_parts(dataset):
    files = {}
    for file, text in pydoc.stdlib_docstrings():
        for paragraph in pydoc.prose(text):
            files.setdefault(split_text(paragraph), file)
    texts = [{e.text for e in part} for part in parts_of(dataset)]
    sources = [{files[text] for text in part} for part in texts]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not texts[a] & texts[b]
        known = {f for f in sources[a] & sources[b] if label_of(f) is not None}
        assert not known


def label_of(file):
    module = file.split("/")[0].removesuffix(".py")
    found = [label for label, names in classification.GROUPS.items() if module in names.split()]
    return found[0] if found else None


def test_labels_are_right_and_balanced(dataset):
    files = {}
    for file, text in pydoc.stdlib_docstrings():
        for paragraph in pydoc.prose(text):
            files.setdefault(split_text(paragraph), set()).add(label_of(file))
    for part in parts_of(dataset):
        assert all(e.label in files[e.text] for e in part)
    labels = set(classification.GROUPS)
    for part, least, most in zip(parts_of(dataset), (100, 8, 8), (320, 40, 40), strict=True):
        counts = Counter(e.label for e in part)
        assert set(counts) <= labels
        assert len(counts) >= 8
        assert least <= min(counts.values())
        assert max(counts.values()) <= most
    assert set(Counter(e.label for e in dataset.train)) == {e.label for e in dataset.test}


def test_no_module_has_two_labels():
    names = [name for names in classification.GROUPS.values() for name in names.split()]
    assert len(set(names)) == len(names)


def test_loads_repeat_and_seeds_differ(dataset):
    assert classification.load().sha256 == dataset.sha256
    assert classification.load(seed=1).sha256 != dataset.sha256


def test_words_beat_the_most_frequent_label(dataset):
    figures = classification.baselines(dataset)
    assert figures["most frequent label"] < 0.2 < 0.35 < figures["bag of words"]


def test_baselines_on_figures_worked_out_by_hand():
    train = [Labelled("good film", "1")] * 6 + [Labelled("bad film", "0")] * 5
    test = [Labelled("good", "1"), Labelled("bad", "0"), Labelled("bad", "0"), Labelled("bad", "1")]
    figures = classification.baselines(Dataset("x", train, train, test))
    assert figures == {"most frequent label": 0.5, "bag of words": 0.75}


def test_scores():
    scored = classification.score(["a", "a", "b"], ["a", "b", "b"])
    assert list(scored) == ["accuracy", "macro_f1"]
    assert scored["accuracy"] == pytest.approx(2 / 3)
    assert scored["macro_f1"] == pytest.approx(2 / 3)


def test_a_python_without_documentation_says_so(monkeypatch):
    monkeypatch.setattr(classification, "stdlib_docstrings", lambda: [("asyncio/a.py", "Short.")])
    with pytest.raises(ValueError, match="no documentation"):
        classification.load()


def test_a_label_without_three_files_is_left_out(monkeypatch):
    text = "A paragraph of at least eight words, namely number {}."
    names = ["one", "two", "three", "four"]
    docs = [(f"email/{n}.py", text.format(n)) for n in names]
    docs += [(f"json/{n}.py", text.format(n + n)) for n in names[:2]]
    monkeypatch.setattr(classification, "stdlib_docstrings", lambda: docs)
    dataset = classification.load()
    assert {e.label for part in parts_of(dataset) for e in part} == {"email"}
    assert all(parts_of(dataset))


def test_a_folder_of_tables(tmp_path):
    for part, text in {"train": "So Good!", "dev": "So-so", "test": "Bad\t"}.items():
        (tmp_path / f"{part}.tsv").write_text(f"{text.strip()}\t1\n")
    dataset = classification.load(tmp_path)
    assert dataset.train == [Labelled("so good !", "1")]
    assert dataset.test == [Labelled("bad", "1")]
    assert classification.load(tmp_path, lower=False).train == [Labelled("So Good !", "1")]
    (tmp_path / "dev.tsv").write_text("fine\t1\nfine 1\n")
    with pytest.raises(ValueError, match=r"dev.tsv:2: expected 2 columns .* not 'fine 1'"):
        classification.load(tmp_path)


def test_a_bad_line_of_trec_is_named(tmp_path):
    (tmp_path / "TREC.test.all").write_bytes(b"1 Who ?\n")
    (tmp_path / "TREC.train.all").write_bytes(b"1 Who was caf\xe9 ?\nWho ?\n")
    with pytest.raises(ValueError, match=r"TREC.train.all:2: expected label, .* not 'Who \?'"):
        classification.load(tmp_path)
    (tmp_path / "TREC.test.all").unlink()
    (tmp_path / "TREC.train.all").write_bytes(b"1 Who was caf\xe9 ?\n")
    with pytest.raises(ValueError, match=r"cannot read .*TREC.test.all"):
        classification.load(tmp_path)


def test_sst2(data_set):
    dataset = classification.load(data_set("sst2"))
    assert dataset.counts == {"train": 6_920, "valid": 872, "test": 1_821}
    assert Counter(e.label for e in dataset.train) == {"0": 3_310, "1": 3_610}
    figures = classification.baselines(dataset)
    assert figures["most frequent label"] == pytest.approx(909 / 1821)
    assert figures["bag of words"] == pytest.approx(0.79, abs=0.01)


def test_trec(data_set):
    dataset = classification.load(data_set("trec"))
    assert len(dataset.train) + len(dataset.valid) == 5_452
    assert len(dataset.valid) == 545
    counts = Counter(e.label for e in dataset.train + dataset.valid)
    assert counts == {"0": 1162, "1": 1250, "2": 86, "3": 1223, "4": 835, "5": 896}
    assert Counter(e.label for e in dataset.test)["0"] == 138
    assert not {e.text for e in dataset.train} & {e.text for e in dataset.valid}
