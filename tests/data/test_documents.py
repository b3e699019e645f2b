"""§3.3 Documents: where an article ends, what a sentence is, and that no paragraph comes twice."""

import os
from pathlib import Path

import pytest

from numpylm.data import documents as module
from numpylm.data.documents import load_documents, sentences
from numpylm.data.words import using_rules

WIKITEXT = """ 
 = Homarus gammarus = 
 
 The lobster is blue . It weighs 5 @.@ 5 kg @-@ less ! 
 
 = = Description = = 
 
 It has 1 @,@ 000 <unk> . 
 
 = = = Claws = = = 
 
 Two claws 
 
 = Frank = Foe = 
 
 Frank played . 
"""


def write(folder, train, valid, test=None):
    for name, text in (("train", train), ("valid", valid), ("test", test)):
        if text is not None:
            (folder / f"{name}.txt").write_text(text)
    return folder


def test_wikitext_is_split_at_titles_and_not_at_sections(tmp_path):
    found = load_documents(write(tmp_path, WIKITEXT, WIKITEXT, WIKITEXT))
    assert found.train == [
        [
            "the lobster is blue .",
            "it weighs 5 . 5 kg - less !",
            "it has 1 , 000 <unk> .",
            "two claws",
        ],
        ["frank played ."],
    ]
    assert found.train == found.valid == found.test


def test_a_title_stands_alone_between_blank_lines(tmp_path):
    """Of WikiText-2's lines " = … = " 617 are 600 titles: the others stand in a table or a text."""
    inside = WIKITEXT.replace(" Two claws \n", " Two claws \n = 9 @.@ 5 = \n three\n")
    found = load_documents(write(tmp_path, inside, inside))
    assert [len(d) for d in found.train] == [6, 1]
    with using_rules(1):
        assert len(load_documents(write(tmp_path, inside, inside)).train) == 3
    wanted = load_documents(write(tmp_path, WIKITEXT, WIKITEXT)).train
    for end in ("\r\n", "\r"):
        for part in ("train", "valid"):
            (tmp_path / f"{part}.txt").write_bytes(WIKITEXT.replace("\n", end).encode())
        assert load_documents(tmp_path).train == wanted


def test_wikitext2_has_its_articles():
    folder = Path(os.environ.get("NUMPYLM_DATA", "")) / "wikitext-2"
    if not os.environ.get("NUMPYLM_DATA") or not folder.exists():
        pytest.skip("set NUMPYLM_DATA to a folder that holds wikitext-2")
    found = load_documents(folder)
    assert [len(found.train), len(found.valid), len(found.test)] == [600, 60, 60]


def test_blank_lines_separate_documents_and_words_are_split(tmp_path):
    text = "One, two. Three\nfour? Five\n\n \n\nDon't stop! Now\n"
    found = load_documents(write(tmp_path, text, text))
    assert found.train == [
        ["one , two .", "three four ?", "five"],
        ["don ' t stop !", "now"],
    ]
    assert found.test == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b . c d ! e ? f", ["a b .", "c d !", "e ?", "f"]),
        ("a . b", ["a .", "b"]),
        ("a ? ! b . . . c", ["a ? !", "b . . .", "c"]),  # no mark begins the next sentence
        (". a .", [".", "a ."]),
        ("a .5 b", ["a .5 b"]),
        ("", []),
        ("  a  ", ["a  "]),
    ],
)
def test_sentences_end_after_their_mark(text, expected):
    assert [s.strip() for s in sentences(text)] == [s.strip() for s in expected]


def test_chinese_sentences_end_after_their_mark(tmp_path):
    text = "你好。你好吗？好！\n\n再见。谢谢\n"
    found = load_documents(write(tmp_path, text, text))
    assert found.train == [["你 好 。", "你 好 吗 ？", "好 ！"], ["再 见 。", "谢 谢"]]


def test_pydoc_leaves_out_paragraphs_that_came_before(monkeypatch):
    first = "This is the first paragraph of a text. It has two sentences that are long enough."
    second = "Here is quite another paragraph of prose. It also has two of them, as you see."
    short = "One sentence alone is no document that has a second one."
    texts = [
        first + "\n\n" + second,
        first,
        second + "\n\n" + second,
        short,
        short + "\n\n" + short,
    ]
    texts += [f"Filler number {c} is a paragraph of its own. It has {c} two sentences." for c in
              "abcdefghijklmnopqrstuvwxyz"]  # fmt: skip
    monkeypatch.setattr(module, "stdlib_docstrings", lambda: [("f.py", t) for t in texts])
    found = load_documents("pydoc")
    everything = found.train + found.valid + found.test
    assert len(everything) == 27
    assert len(found.valid) == len(found.test) == 1
    flat = [s for d in everything for s in d]
    assert len(flat) == len(set(flat)) == 4 + 2 * 26
    assert load_documents("pydoc") == found  # the shuffle is the same each time


@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_text_without_boundaries_is_one_clear_line(tmp_path, part):
    parts = {"train": "one. two.\n\nthree. four.\n", "valid": "five.\n\nsix.\n"}
    parts[part] = "one line\nand another, no boundary. " * 20
    write(tmp_path, parts["train"], parts["valid"])
    with pytest.raises(ValueError, match="has no document boundaries") as error:
        load_documents(tmp_path)
    assert "\n" not in str(error.value)


def test_the_hash_sees_every_part_and_every_boundary(tmp_path):
    texts = ["a. b.\n\nc. d.\n", "a. b. c.\n\nd.\n"]
    hashes = set()
    for i, (train, valid, test) in enumerate(
        [(texts[0], texts[0], None), (texts[1], texts[0], None), (texts[0], texts[1], None),
         (texts[0], texts[0], texts[0])]
    ):  # fmt: skip
        folder = tmp_path / str(i)
        folder.mkdir()
        hashes.add(load_documents(write(folder, train, valid, test)).sha256)
    assert len(hashes) == 4
