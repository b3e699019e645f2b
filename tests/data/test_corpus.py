"""§3.3 Corpora: found, split, and refused with one clear line."""

import hashlib

import pytest

import numpylm.data.corpus as corpus_module
import numpylm.data.pydoc as pydoc_module
from numpylm.data.corpus import load_corpus
from numpylm.data.pydoc import pydoc_paragraphs, pydoc_splits


def test_pydoc_is_english_prose_without_leaks():
    corpus = load_corpus("pydoc")
    train, valid, test = (set(t.splitlines()) for t in (corpus.train, corpus.valid, corpus.test))
    assert len(corpus.train) > 500_000
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert 0.03 < len(valid) / len(train | valid | test) < 0.07
    assert corpus.train.isascii()
    assert " the " in corpus.valid


def test_pydoc_repeats():
    assert load_corpus("pydoc").sha256 == load_corpus("pydoc").sha256


def make_stdlib(folder):
    """A small library with one topic, docstrings and a paragraph that stands twice."""
    prose = "This is a paragraph of eight words, or {}."
    (folder / "pydoc_data").mkdir(parents=True)
    topic = prose.format("a few more than that")
    (folder / "pydoc_data" / "topics.py").write_text(f"topics = {{'x': {topic!r}}}\n")
    for i in range(4):
        number = ["one", "two", "three", "four"][i]
        code = ">>> not prose, it is code, so it is left out."
        text = f'"""{prose.format(number)}\n\n{topic}\n\n{code}\n"""'
        (folder / f"module{i}.py").write_text(text)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "test").mkdir()
    (folder / "test" / "test_x.py").write_text(
        '"""Docstrings of tests are not part of the text."""'
    )
    return folder


def test_paragraphs_are_deduplicated_and_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(pydoc_module, "cache_folder", lambda: tmp_path / "cache")
    stdlib = make_stdlib(tmp_path / "lib")
    paragraphs = pydoc_paragraphs(stdlib)
    assert len(paragraphs) == 5
    assert not any(">>>" in p or "tests" in p for p in paragraphs)
    (stdlib / "module0.py").unlink()
    assert pydoc_paragraphs(stdlib) == paragraphs  # from the cache


def test_a_python_without_documentation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pydoc_module, "cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(ValueError, match="carries no documentation"):
        pydoc_splits(tmp_path)


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(pydoc_module, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert len(pydoc_paragraphs(make_stdlib(tmp_path / "lib"))) == 5


def test_a_file_is_split_at_nine_tenths(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij" * 10)
    corpus = load_corpus(path)
    assert (len(corpus.train), len(corpus.valid), corpus.test) == (90, 10, "")
    assert corpus.train + corpus.valid == path.read_text()


def test_a_folder_has_its_own_splits(tmp_path):
    (tmp_path / "train.txt").write_text("training")
    (tmp_path / "valid.txt").write_text("validation")
    assert load_corpus(tmp_path).test == ""
    (tmp_path / "test.txt").write_text("testing")
    assert load_corpus(tmp_path).test == "testing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"abc\0def", r"binary file \(zero byte at 3\)"),
        (b"caf\xe9 au lait", "not UTF-8 text: byte 0xe9 at 3"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(path)


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match="'nowhere' is neither"):
        load_corpus("nowhere")
    with pytest.raises(ValueError, match="no train.txt"):
        load_corpus(tmp_path)


def fake_download(monkeypatch, tmp_path, contents):
    import pooch

    monkeypatch.setattr(corpus_module, "cache_folder", lambda: tmp_path)

    def retrieve(url, known_hash, fname, path, progressbar):
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(contents[fname])

    monkeypatch.setattr(pooch, "retrieve", retrieve)


def test_downloads_are_verified(tmp_path, monkeypatch):
    contents = {f"{part}.txt": f"{part} text\n".encode() for part in ("train", "valid", "test")}
    fake_download(monkeypatch, tmp_path, contents)
    with pytest.raises(ValueError, match="does not match its checksum"):
        load_corpus("wikitext2")
    assert not (tmp_path / "wikitext-2" / "train.txt").exists()
    blobs = {n: hashlib.sha1(b"blob %d\0" % len(d) + d).hexdigest() for n, d in contents.items()}
    monkeypatch.setattr(corpus_module, "WIKITEXT2_GIT_BLOBS", blobs)
    assert load_corpus("wikitext2").train == "train text\n"


def test_no_network_is_one_clear_line(tmp_path, monkeypatch):
    import pooch

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(corpus_module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(ValueError, match="cannot download WikiText-2"):
        load_corpus("wikitext2")


def test_every_part_counts_for_the_checksum():
    parts = {"train": "a", "valid": "b", "test": "c"}
    whole = corpus_module.Corpus("x", **parts).sha256
    for part in parts:
        assert corpus_module.Corpus("x", **{**parts, part: "d"}).sha256 != whole


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "text.txt").write_text("abcdefghij" * 10, encoding="utf-8-sig")
    assert load_corpus(tmp_path / "text.txt").train.startswith("abc")


def test_wikitext_may_have_its_published_names(tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"wiki.{part}.tokens").write_text(part)
    corpus = load_corpus(tmp_path)
    assert (corpus.train, corpus.valid, corpus.test) == ("train", "valid", "test")
