"""§3.3 Data files: read strictly, refused with file and line, split without leaks."""

import gzip

import numpy as np
import pytest

from numpylm.data.words import using_rules
from numpylm.tasks.data_files import find_parts, load_files, read_lines, read_table, split_groups
from numpylm.tasks.dataset import Pair


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_only_line_feeds_end_a_line(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeffone\u2028still one\r\ntwo\x0bstill two\n\nfour")
    assert read_lines(path) == ["one\u2028still one", "two\x0bstill two", "", "four"]


def test_gzip_is_read_and_checked(tmp_path):
    data = gzip.compress(b"eins\nzwei\n")
    path = tmp_path / "a.de.gz"
    path.write_bytes(data)
    assert read_lines(path) == ["eins", "zwei"]
    for broken in (b"not gzip", data[:-9], data[:15] + b"\xff\xff" + data[17:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot read .*a.de.gz"):
            read_lines(path)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"a.txt:3: not UTF-8 text: byte 0xe9"):
        read_lines(path)
    assert read_lines(path, "latin-1")[2] == "café"
    with pytest.raises(ValueError, match="a.txt is empty"):
        read_lines(write(path, " \n\n"))
    with pytest.raises(ValueError, match="cannot read .*missing: No such file"):
        read_lines(tmp_path / "missing")


def test_columns_beyond_those_wanted_are_ignored(tmp_path):
    path = write(tmp_path / "a.tsv", "a\tb\tCC-BY\nc\t d \n")
    assert read_table(path, 2, Pair) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tab", r"a.tsv:2: expected 2 columns with tabs between them, not 'no tab'"),
        ("", r"a.tsv:2: expected 2 columns"),
        ("a\t ", r"a.tsv:2: column 2 is empty"),
        ("\tb", r"a.tsv:2: column 1 is empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path / "a.tsv", f"a\tb\n{line}\nc\td\n")
    with pytest.raises(ValueError, match=message):
        read_table(path, 2, Pair)


def test_names_of_columns_are_no_example(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("Sentence\tlabel\na\t1\n")
    assert read_table(path, 2, Pair) == [Pair("a", "1")]
    with using_rules(1):
        assert len(read_table(path, 2, Pair)) == 2
    path.write_text("label\tsentence\n1\ta\n")
    with pytest.raises(ValueError, match=r"a.tsv:1: the columns are label, sentence"):
        read_table(path, 2, Pair)


def test_old_mac_files_have_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\rb\rc\r")
    assert read_lines(path) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(10))
def test_a_label_that_occurs_once_stays_in_training(tmp_path, seed):
    path = tmp_path / "a.tsv"
    lines = [f"text {i}\t{i % 2}" for i in range(58)] + ["one\trare", "other\tseldom"]
    path.write_text("\n".join(lines))
    found = load_files(
        path, lambda p: read_table(p, 2, Pair), lambda e: e.source, seed=seed,
        labels=lambda e: (e.target,),
    )  # fmt: skip
    assert {e.target for e in found.train} == {"0", "1", "rare", "seldom"}
    assert found.valid
    assert found.test
    assert len(found.train + found.valid + found.test) == 60


def test_a_folder_has_its_own_parts(tmp_path):
    for name in ("train.tsv", "dev.tsv", "test_2016.tsv", "test.tsv.gz", "README.md"):
        write(tmp_path / name, "a\tb\n")
    names = [path.name for path in find_parts(tmp_path, (".tsv",))]
    assert names == ["train.tsv", "dev.tsv", "test.tsv.gz"]
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(ValueError, match=r"has no valid file \(valid.tsv\)"):
        find_parts(tmp_path, (".tsv",))


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ValueError, match="'nowhere' is neither built in nor"):
        load_files("nowhere", read_lines, group=str)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_group_is_in_two_parts(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(40, size=400).tolist()
    examples = list(range(400))
    dataset = split_groups("x", examples, groups, (0.8, 0.1, 0.1), seed)
    parts = [{groups[i] for i in part} for part in (dataset.train, dataset.valid, dataset.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert sorted(dataset.train + dataset.valid + dataset.test) == examples
    assert 25 <= len(dataset.valid) <= 55
    assert 25 <= len(dataset.test) <= 55
    again = split_groups("x", examples, groups, (0.8, 0.1, 0.1), seed)
    other = split_groups("x", examples, groups, (0.8, 0.1, 0.1), seed + 1)
    assert again == dataset
    assert set(other.test) != set(dataset.test)


def test_too_few_groups_are_refused():
    with pytest.raises(ValueError, match=r"x has too few different examples to split in 3 parts"):
        split_groups("x", [1, 2, 3], "aab", (0.8, 0.1, 0.1), 0)
    dataset = split_groups("x", [1, 2, 3, 4, 5], "aaabc", (0.8, 0.1, 0.1), 0)
    assert sorted(dataset.train) == [1, 2, 3]
    assert dataset.counts == {"train": 3, "valid": 1, "test": 1}
    assert split_groups("x", [1, 2], "ab", (0.5, 0.5, 0.0), 0).counts["test"] == 0
