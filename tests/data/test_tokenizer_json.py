"""Hugging Face's tokenizer.json: the library's ids, written and read again, strangers refused."""

import copy
import json
from pathlib import Path

import pytest

from numpylm.data.bpe import train_bpe
from numpylm.data.tokenizer_files import LARGEST_FILE, load_tokenizer
from numpylm.data.tokenizer_json import parse_tokenizer
from numpylm.data.vocabulary import tokenizer_from_json

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/tokenizers.json").read_text())
NAMES = tuple(GOLDEN["tokenizers"])


def stored(name):
    return copy.deepcopy(GOLDEN["tokenizers"][name]["file"])


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_library(name):
    tokenizer = parse_tokenizer(stored(name))
    ids = [tokenizer.model_input(text).tolist() for text in GOLDEN["texts"]]
    assert ids == GOLDEN["tokenizers"][name]["ids"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_again(name):
    tokenizer = parse_tokenizer(stored(name))
    again = tokenizer_from_json(tokenizer.to_json())
    assert again == tokenizer
    assert again.to_json() == tokenizer.to_json()


@pytest.mark.parametrize("name", NAMES)
def test_the_library_reads_what_is_written(name):
    library = pytest.importorskip("tokenizers", reason="Hugging Face's tokenizers is not installed")
    theirs = library.Tokenizer.from_str(parse_tokenizer(stored(name)).to_json())
    ids = [theirs.encode(text).ids for text in GOLDEN["texts"]]
    assert ids == GOLDEN["tokenizers"][name]["ids"]


def test_llama_3_takes_a_chunk_that_is_a_token_whole():
    data = stored("llama3")
    data["model"]["ignore_merges"] = True
    data["model"]["vocab"]["wide"] = 330
    tokenizer = parse_tokenizer(data)
    assert tokenizer.encode("wide").tolist() == [330]
    assert tokenizer.encode(" wide").tolist() != [330]


def test_a_mask_takes_the_blanks_beside_it():
    data = stored("gpt2")
    token = {"id": 330, "content": "<mask>", "special": True, "lstrip": True, "rstrip": False,
             "normalized": False, "single_word": False}  # fmt: skip
    data["added_tokens"] = [token]
    tokenizer = parse_tokenizer(data)
    ids = tokenizer.encode("a  <mask> b").tolist()
    assert ids == [*tokenizer.encode("a"), 330, *tokenizer.encode(" b")]


def test_old_post_processors_and_merges_as_strings():
    data = stored("gpt2")
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    data["post_processor"] = {"type": "RobertaProcessing", "cls": ["!", 0], "sep": ["#", 2]}
    tokenizer = parse_tokenizer(data)
    plain = parse_tokenizer(stored("gpt2"))
    assert tokenizer.merges == plain.merges
    assert tokenizer.model_input("a").tolist() == [0, *plain.encode("a"), 2]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model",), 5, "model is 5, no dict"),
        (("model", "type"), "Unigram", "'Unigram' is none of BPE, WordPiece"),
        (("model", "vocab"), [], "vocab is \\[\\], no dict"),
        (("model", "vocab", "!"), 2**40, "token '!' has the id 1099511627776"),
        (("model", "vocab", "!"), True, "token '!' has the id True"),
        (("model", "vocab", "!"), 1, "gives an id twice"),
        (("model", "vocab", "词"), 999, "not written in GPT-2's alphabet"),
        (("model", "merges"), [["a"]], "merge 0 is \\['a'\\], no pair"),
        (("model", "merges"), [["a", "Ω"]], "is not of the vocabulary's tokens"),
        (("model", "merges"), [["t", "h"]] * 2, "merge 1, .* occurs twice"),
        (("model", "dropout"), 0.1, "dropout 0.1 is not supported"),
        (("model", "end_of_word_suffix"), "</w>", "end_of_word_suffix '</w>' is not supported"),
        (("normalizer",), {"type": "Lowercase"}, "normaliser .* is not supported"),
        (("normalizer",), {"type": "Sequence", "normalizers": 3}, "normalizers is 3, no list"),
        (("pre_tokenizer",), {"type": "Whitespace"}, "pre-tokeniser .* is not supported"),
        (("pre_tokenizer",), None, "pre-tokeniser None is not supported"),
        (("post_processor",), {"type": "Other"}, "post-processor 'Other' is not supported"),
        (("post_processor",), {"type": "TemplateProcessing", "single": []}, "the text 0 times"),
        (("added_tokens",), [1], "added token 1 is no object"),
        (("added_tokens",), [{"id": 5, "content": "x"}], "added token 'x' has the id 5"),
        (("added_tokens",), [{"id": 5, "content": "new"}], "has the id or the text of another"),
        (("added_tokens",), [{"id": -1, "content": "new"}], "'new' has the id -1"),
        (
            ("pre_tokenizer",),
            {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"},
                {"type": "ByteLevel", "add_prefix_space": False},
            ]},
            "the split pattern '\\(' is none",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_its_name(path, value, message):
    data = stored("gpt2")
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message) as refused:
        parse_tokenizer(data)
    assert "\n" not in str(refused.value)


def test_half_a_surrogate_is_refused_wherever_it_stands():
    data = stored("uncased")
    data["model"]["continuing_subword_prefix"] = "\ud800"
    with pytest.raises(ValueError, match="cannot be written in UTF-8"):
        parse_tokenizer(data)


@pytest.mark.parametrize("cut", [0, 1, 100, 2000])
def test_a_truncated_file_names_itself(tmp_path, cut):
    path = tmp_path / "tokenizer.json"
    path.write_text(train_bpe("abc", 300).to_json()[:cut])
    with pytest.raises(ValueError, match="tokenizer.json: the tokenizer file") as refused:
        load_tokenizer(path)
    assert "\n" not in str(refused.value)


def test_a_huge_or_deep_or_missing_file_names_itself(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ValueError, match="cannot read .*tokenizer.json"):
        load_tokenizer(tmp_path)
    with open(path, "wb") as file:
        file.truncate(LARGEST_FILE + 1)  # a hole: no disk and no memory
    with pytest.raises(ValueError, match="tokenizer.json has 67,108,865 bytes"):
        load_tokenizer(tmp_path)
    path.write_text('{"model":' * 100_000)
    with pytest.raises(ValueError, match="nested too deep"):
        load_tokenizer(tmp_path)


def test_a_folder_a_file_and_ours_are_told_apart(tmp_path):
    tokenizer = train_bpe("the cat sat", 270)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    assert load_tokenizer(tmp_path) == load_tokenizer(tmp_path / "tokenizer.json") == tokenizer
    (tmp_path / "ours.json").write_text('{"kind": "byte"}')
    assert load_tokenizer(tmp_path / "ours.json").kind == "byte"
