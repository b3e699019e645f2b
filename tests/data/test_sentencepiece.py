"""llama2.c's tokenizer files: built here byte by byte, and stories260K's where it is."""

import json
import os
import struct
from pathlib import Path

import pytest

from numpylm.data.sentencepiece import BYTE_NAMES, read_llama2c
from numpylm.data.vocabulary import tokenizer_from_json

WORDS = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *BYTE_NAMES, b" ", b"a", b"b", b"ab", b"ba", b" ab"]
SCORES = [0.0] * 262 + [-2.0, -1.0, -3.0]  # ba before ab before " ab"


def written(words=WORDS, scores=SCORES, longest=None):
    head = struct.pack("<i", max(map(len, words)) if longest is None else longest)
    rows = zip(scores, words, strict=True)
    return head + b"".join(struct.pack("<fi", s, len(w)) + w for s, w in rows)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tok.bin").write_bytes(written())
    return tmp_path / "tok.bin"


def test_the_best_score_merges_first_and_bytes_are_the_last_resort(path):
    tokenizer = read_llama2c(path, 265)
    name = tokenizer.piece_of
    assert [name[i] for i in tokenizer.encode("ab")] == [b" ab"]
    assert [name[i] for i in tokenizer.encode("aba")] == [b" ", b"a", b"ba"]
    assert tokenizer.encode("é").tolist() == [259, 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.model_input("a").tolist() == [1, 259, 260]
    for text in ("", "ab é aba\n", " a", "\0"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_it_becomes_a_tokenizer_json(path):
    tokenizer = read_llama2c(path)
    again = tokenizer_from_json(tokenizer.to_json())
    for text in ("ab", "aba", "é", "<s>ab", "bab ab"):
        assert again.model_input(text).tolist() == tokenizer.model_input(text).tolist()
    assert tokenizer_from_json(again.to_json()) == again


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has 0 bytes"),
        (written()[:-1], "token 264 at byte"),
        (written()[:-6], "in the middle of token 264"),
        (written(longest=2**30), "longest piece would have 1073741824 bytes"),
        (written(longest=0), "longest piece would have 0 bytes"),
        (written(longest=3), "token 0 at byte 4 has length 5"),
        (written(WORDS[:100], SCORES[:100]), "it holds 100 tokens, fewer than"),
        (written([*WORDS, b"a"], [*SCORES, 0.0]), "a piece twice"),
        (written(scores=[float("nan"), *SCORES[1:]]), "score nan"),
        (written([b"x" + w if w == BYTE_NAMES[7] else w for w in WORDS]), "no token <0x07>"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path, data, message):
    path = tmp_path / "tok.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as refused:
        read_llama2c(path)
    assert str(path) in str(refused.value)


def test_another_size_and_a_missing_file(path):
    with pytest.raises(ValueError, match="it holds 265 tokens, the model 512"):
        read_llama2c(path, 512)
    with pytest.raises(ValueError, match="cannot read .*nowhere"):
        read_llama2c("nowhere")


@pytest.mark.skipif("NUMPYLM_DATA" not in os.environ, reason="NUMPYLM_DATA names no folder")
def test_stories260k():
    folder = Path(os.environ["NUMPYLM_DATA"]) / "stories260K"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    tokenizer = read_llama2c(folder / "tok512.bin", 512)
    text = (folder / "expected.txt").read_text()
    ids = tokenizer.model_input(text)
    assert len(ids) == 201, "the greedy text is 200 tokens behind <s>"
    assert tokenizer.decode(ids[1:]) == text
    assert json.loads(tokenizer.to_json())["model"]["byte_fallback"] is True
