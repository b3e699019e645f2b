"""§3.3 Translation data: generated, from TSV, from one file for each language."""

import builtins
import gzip
from importlib.util import find_spec

import pytest

from numpylm.tasks import translation
from numpylm.tasks.dataset import Dataset, Pair


@pytest.fixture
def generated(load_default):
    return load_default("translation")


def test_no_source_is_in_two_parts(generated):
    assert generated.counts == {"train": 20_000, "valid": 500, "test": 500}
    pairs = generated.train + generated.valid + generated.test
    assert len({pair.source for pair in pairs}) == len(pairs)


def test_words_of_the_test_are_known(generated):
    known = {word for pair in generated.train for text in pair for word in text.split()}
    unknown = [
        w for p in generated.valid + generated.test for w in p.target.split() if w not in known
    ]
    assert len(unknown) <= 2


def test_seeds_repeat_and_differ():
    sizes = (50, 5, 5)
    first = translation.load(sizes=sizes, seed=1)
    assert first.sha256 == translation.load(sizes=sizes, seed=1).sha256
    assert first.sha256 != translation.load(sizes=sizes, seed=2).sha256


def test_order_and_agreement_are_beyond_a_dictionary(generated):
    pytest.importorskip("sacrebleu", reason="BLEU needs sacrebleu")
    figures = translation.baselines(generated)
    assert list(figures) == ["copy the source", "word by word"]
    assert figures["copy the source"] < figures["word by word"] < 10


def test_the_dictionary_solves_what_is_word_by_word():
    words = {"ein": "a", "hund": "dog", "katze": "cat", "sieht": "sees", "hört": "hears"}
    sources = [f"ein {x} {v} ein {y}" for x in ("hund", "katze") for v in ("sieht", "hört")
               for y in ("hund", "katze")]  # fmt: skip
    pairs = [Pair(s, " ".join(words[w] for w in s.split())) for s in sources]
    figures = translation.baselines(Dataset("x", pairs[1:], [], pairs[:1]))
    bleu = find_spec("sacrebleu") is not None  # without it the score is the share of exact matches
    assert figures["word by word"] == pytest.approx(100.0 if bleu else 1.0)


def test_a_table_keeps_a_source_in_one_part(tmp_path):
    path = tmp_path / "pairs.tsv"
    lines = [f"Go {i // 3}!\t走{i}。\tCC-BY 2.0 {i}" for i in range(300)]
    path.write_text("\n".join(lines), encoding="utf-8")
    dataset = translation.load(path)
    assert dataset.counts == {"train": 270, "valid": 15, "test": 15}
    parts = [{p.source for p in part} for part in (dataset.train, dataset.valid, dataset.test)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) == 100
    assert Pair("go 0 !", "走 0 。") in dataset.train + dataset.valid + dataset.test
    assert translation.load(path, seed=1).sha256 != dataset.sha256


def make_folder(folder, valid="val", test="test_2016_flickr", languages=("de", "en")):
    for part in ("train", valid, test):
        for language in languages:
            text = f"{language} {part} Eins!\n{language} {part} zwei.\n".encode()
            (folder / f"{part}.{language}.gz").write_bytes(gzip.compress(text))
    return folder


def test_a_folder_of_two_languages_needs_no_choice(tmp_path):
    dataset = translation.load(make_folder(tmp_path))
    assert dataset.train[0] == Pair("de train eins !", "en train eins !")
    assert dataset.test[1] == Pair("de test_2016_flickr zwei .", "en test_2016_flickr zwei .")
    turned = translation.load(tmp_path, source_language="en", target_language="de")
    assert turned.valid[0] == Pair("en val eins !", "de val eins !")
    kept = translation.load(tmp_path, lower=False)
    assert kept.train[0].source == "de train Eins !"


def test_the_languages_of_a_folder_are_named(tmp_path):
    make_folder(tmp_path, languages=("de", "en", "fr"))
    for source, target in ((None, None), ("de", None), ("de", "xx"), ("de", "de")):
        with pytest.raises(ValueError, match=rf"de, en, fr .* not {source} and {target}"):
            translation.load(tmp_path, source_language=source, target_language=target)


def test_lines_that_do_not_pair_are_refused(tmp_path):
    make_folder(tmp_path)
    path = tmp_path / "val.en.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\nthree\n"))
    with pytest.raises(ValueError, match=r"val.de.gz has 2 lines but .*val.en.gz has 3"):
        translation.load(tmp_path)
    path.write_bytes(gzip.compress(b"one\n \n"))
    with pytest.raises(ValueError, match=r"val.en.gz:2: the line is empty"):
        translation.load(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"has no valid file \(valid.en\)"):
        translation.load(tmp_path)


def test_a_table_without_tabs_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("go\tgeh\nstop halt\n")
    with pytest.raises(ValueError, match=r"pairs.tsv:2: expected 2 columns .* not 'stop halt'"):
        translation.load(path)
    with pytest.raises(ValueError, match="only a folder"):
        translation.load(path, source_language="de")
    with pytest.raises(ValueError, match="'nowhere' is neither"):
        translation.load("nowhere")


def test_scores():
    sacrebleu = pytest.importorskip("sacrebleu", reason="BLEU needs sacrebleu")
    predictions, references = ["a b c d e", "f g h i"], ["a b c d f", "f g h i"]
    scored = translation.score(predictions, references)
    assert list(scored) == ["bleu", "exact_match", "token_accuracy"]
    assert scored["exact_match"] == 0.5
    assert scored["token_accuracy"] == 8 / 9
    # precisions 8/9, 6/7, 4/5, 2/3; lengths agree, so there is no brevity penalty
    assert scored["bleu"] == pytest.approx(100 * (8 / 9 * 6 / 7 * 4 / 5 * 2 / 3) ** 0.25)
    assert sacrebleu.__version__


def test_without_sacrebleu_only_bleu_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "sacrebleu":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    scored = translation.score(["a"], ["a"])
    assert scored == {"exact_match": 1.0, "token_accuracy": 1.0}
    with pytest.raises(ValueError, match=r"pip install numpylm\[scores\]"):
        translation.bleu(["a"], ["a"])


def test_multi30k(data_set):
    path = data_set("multi30k")
    dataset = translation.load(path, source_language="de", target_language="en")
    assert dataset.counts == {"train": 29_000, "valid": 1_014, "test": 1_000}
    assert dataset.name == "multi30k de-en"
    assert dataset.test[0].target == "a man in an orange hat starring at something ."


def test_tatoeba(data_set):
    dataset = translation.load(data_set("tatoeba-en-zh/cmn.txt"))
    assert sum(dataset.counts.values()) == 20_133
    parts = [{p.source for p in part} for part in (dataset.train, dataset.valid, dataset.test)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))
    assert all(len(word) == 1 or word.isascii() for word in dataset.test[0].target.split())
