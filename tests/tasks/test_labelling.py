"""§3.3 Labels of Python tokens, CoNLL files, and the baselines' figures."""

import keyword
import textwrap

import pytest

from numpylm.data import pydoc
from numpylm.data.words import using_rules
from numpylm.tasks import labelling
from numpylm.tasks.dataset import Dataset, Tagged
from numpylm.tasks.generated.python_tokens import label_tokens


@pytest.fixture
def dataset(load_default):
    return load_default("labelling")


def labelled(source):
    words, labels = label_tokens(textwrap.dedent(source))
    return [f"{w}/{k}" for w, k in zip(words, labels, strict=True) if k not in ("operator",)]


def test_the_context_decides_what_a_name_is():
    source = '''
    def find(self, path, name="x" "y"):
        """A docstring
        of two lines."""
        name = self.name or 3 * len(path)  # name: a comment
        path.find(name, key=path.key)
        return helper(name)
    '''
    assert (
        labelled(source)
        == (
            "def/keyword find/function self/parameter path/parameter name/parameter STRING/string "
            "STRING/string name/parameter self/parameter name/attribute or/keyword NUMBER/number "
            "len/builtin path/parameter path/parameter find/method name/parameter key/argument "
            "path/parameter key/attribute return/keyword helper/global name/parameter"
        ).split()
    )


def test_rarer_syntax():
    source = """
    async def run(*args, **rest):
        global count
        from os.path import join as j, sep
        import sys
        for match, len in args:
            count = f"{match} {len!r:>{count}} {x.args}"
        try:
            class Case(Base): pass
        except (ValueError, Case) as error:
            return [j(y) for y in rest], sys.exit, True
        match args:
            case [first, *others]: first = lambda q: q
    """
    assert (
        labelled(source)
        == (
            "async/keyword def/keyword run/function args/parameter rest/parameter "
            "global/keyword count/global "
            "from/keyword os/module path/module import/keyword join/module as/keyword j/module "
            "sep/module import/keyword sys/module "
            "for/keyword match/variable len/variable in/keyword args/parameter "
            "count/global STRING/string "
            "try/keyword class/keyword Case/class Base/global pass/keyword "
            "except/keyword ValueError/builtin Case/class as/keyword error/variable "
            "return/keyword j/module y/variable for/keyword y/variable in/keyword rest/parameter "
            "sys/module exit/attribute True/keyword "
            "match/variable args/parameter case/keyword first/variable others/variable "
            "first/variable lambda/keyword q/parameter q/parameter"
        ).split()
    )


def test_soft_keywords_are_keywords_where_they_are_used_so():
    source = """
    def f(x, match):
        match x:
            case 1: match(x)
    """
    assert (
        labelled(source)[4:]
        == (
            "match/parameter x/parameter case/keyword NUMBER/number match/parameter x/parameter"
        ).split()
    )
    assert "match/keyword" in labelled(source.replace(", match", "").replace("match(x)", "pass"))


def test_the_default_keeps_the_rules_of_python(dataset):
    examples = dataset.train + dataset.valid + dataset.test
    assert len(examples) > 2_000
    assert len({e.words for e in examples}) == len(examples)
    for words, labels in examples:
        assert labelling.SHORTEST <= len(words) == len(labels) <= labelling.LONGEST
        at = words.index("def")
        assert labels[at + 1] == "function"
        for before, word, label, after in zip(
            ("", *words), words, labels, (*words[1:], ""), strict=False
        ):
            assert label != "method" or (before == "." and after in "()")
            assert label != "attribute" or before == "."
            assert label != "argument" or after == "="
            assert label != "string" or word == "STRING"
            if keyword.iskeyword(word):
                assert label == "keyword"
        parameters = {w for w, k in zip(words, labels, strict=True) if k == "parameter"}
        variables = {w for w, k in zip(words, labels, strict=True) if k == "variable"}
        assert not parameters & variables


def test_no_file_is_in_two_parts(dataset):
    files = {}
    for file, words, _ in pydoc.cached("functions", pydoc.stdlib_folder(), list):
        files.setdefault(tuple(words), file)
    parts = [
        {files[e.words] for e in part} for part in (dataset.train, dataset.valid, dataset.test)
    ]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    total = sum(dataset.counts.values())
    assert 0.08 < len(dataset.test) / total < 0.12
    assert labelling.load().sha256 == dataset.sha256
    assert labelling.load(seed=1).sha256 != dataset.sha256


def test_the_word_alone_does_not_tell_its_label(dataset):
    figures = labelling.baselines(dataset)
    assert 0.4 < figures["most frequent label"] < 0.55
    assert 0.75 < figures["most frequent label of the word"] < 0.92


CONLL = """-DOCSTART- -X- O O

EU NNP B-ORG
rejects VBZ O

German JJ B-MISC
call NN O
Peter NNP I-PER
"""


def test_conll_files(tmp_path):
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conll").write_text(CONLL)
    dataset = labelling.load(tmp_path)
    assert dataset.train == [
        Tagged(("EU", "rejects"), ("B-ORG", "O")),
        Tagged(("German", "call", "Peter"), ("B-MISC", "O", "I-PER")),
    ]
    assert labelling.load(tmp_path, lower=True).valid[0].words == ("eu", "rejects")
    path = tmp_path / "one.conll"
    path.write_text("\n\n".join(f"word{i} X" for i in range(100)))
    assert labelling.load(path).counts == {"train": 90, "valid": 5, "test": 5}


def read(tmp_path, text, name="a.conll"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return labelling.read_tagged(path)


def test_comments_documents_and_line_ends_of_conll(tmp_path):
    text = "# id = 1\n-DOCSTART- -X- O\nEU N B-O\n# O O\n-DOCSTART- -X- O\nnew N O\n"
    wanted = [Tagged(("EU", "#"), ("B-O", "O")), Tagged(("new",), ("O",))]
    for end in ("\n", "\r\n", "\r"):
        assert read(tmp_path, text.replace("\n", end)) == wanted
    assert read(tmp_path, "# newdoc\na O\n") == [Tagged(("a",), ("O",))]
    assert read(tmp_path, "#tag\tO\n# text = a b\na\tO\n")[0].words == ("#tag", "a")


def test_a_word_may_hold_a_blank_between_tabs(tmp_path):
    (found,) = read(tmp_path, "1 000\tN\tO\nNew York\tN\tB-LOC\n")
    assert found == Tagged(("1 000", "New York"), ("O", "B-LOC"))
    assert read(tmp_path, "1\u00a0000 O\n")[0].words == ("1\u00a0000",)
    with pytest.raises(ValueError, match=r"a.conll:2: expected 2 columns as before, not 'New York"):
        read(tmp_path, "a O\nNew York B-LOC\n")


def test_an_empty_label_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a.conll:2: the label is empty in 'b\\tN\\t'"):
        read(tmp_path, "a\tN\tO\nb\tN\t\n")
    with pytest.raises(ValueError, match=r"a.conll:2: expected 3 columns"):
        read(tmp_path, "a N O\nb N \n")


def test_conllu(tmp_path):
    row = "{}\t{}\tx\t{}\tX\t_\t0\troot\t_\tSpaceAfter=No\n".format
    text = "# text = Im Haus\n" + row("1-2", "Im", "_") + row(1, "In", "ADP") + row(2, "dem", "DET")
    text += row("2.1", "e", "X") + row(3, "#", "SYM")
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conllu").write_text(text)
    assert labelling.load(tmp_path).test == [Tagged(("In", "dem", "#"), ("ADP", "DET", "SYM"))]


def test_a_run_of_the_first_version_reads_conll_as_it_did(tmp_path):
    with using_rules(1):
        assert read(tmp_path, "# x O\na N O\n-DOCSTART- O\nb N O\n") == [
            Tagged(("#", "a", "b"), ("O", "O", "O"))
        ]


def test_bad_conll_files_are_named(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("EU NNP B-ORG\nrejects\n")
    with pytest.raises(
        ValueError, match=r"a.conll:2: expected a word and its label, not 'rejects'"
    ):
        labelling.load(path)
    path.write_text("-DOCSTART- -X- O O\n\n")
    with pytest.raises(ValueError, match=r"a.conll has no words"):
        labelling.load(path)
    with pytest.raises(ValueError, match=r"has no train file \(train.conll\)"):
        labelling.load(tmp_path)


def test_baselines_on_figures_worked_out_by_hand():
    train = [Tagged(("a", "b", "a"), ("X", "Y", "X")), Tagged(("a", "c"), ("Z", "Y"))]
    test = [Tagged(("a", "b", "d"), ("X", "Y", "X")), Tagged(("a", "c"), ("Z", "X"))]
    # X and Y are equally frequent: the first in the alphabet; of a it is X, of b and c it is Y
    assert labelling.baselines(Dataset("x", train, [], test)) == {
        "most frequent label": 3 / 5,
        "most frequent label of the word": 3 / 5,
    }


def test_scores():
    plain = labelling.score([["X", "Y"], ["X"]], [["X", "X"], ["X"]])
    assert plain == {"accuracy": 2 / 3, "macro_f1": pytest.approx((4 / 5 + 0) / 2)}
    spans = labelling.score([["B-A", "O"]], [["B-A", "I-A"]])
    assert list(spans) == ["accuracy", "macro_f1", "span_f1"]
    assert spans["span_f1"] == 0.0
    with pytest.raises(ValueError, match="sequence 1 has 1 labels, but 2 are predicted"):
        labelling.score([["X"], ["X", "Y"]], [["X"], ["X"]])


def test_a_python_without_sources_says_so(monkeypatch):
    monkeypatch.setattr(labelling, "cached", lambda *_: [])
    with pytest.raises(ValueError, match="no sources"):
        labelling.load()
