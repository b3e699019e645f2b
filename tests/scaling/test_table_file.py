"""§6.5 Tables as people have them: right, or refused with file and line."""

import json
import math

import numpy as np
import pytest

from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.laws.forms import FORMS

PLAIN = "N,D,loss\n1e6,2e7,4.5\n2e6,4e7,4.0\n4e6,9e7,3.5\n"


def read(tmp_path, text, name="runs.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_runs(path, **options)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace(",", ", "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "# from the cluster\n\n" + PLAIN + "# the end\n",
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        'N,D,loss\n"1,000,000","20,000,000",4.5\n"2,000,000","40,000,000",4.0\n'
        '"4,000,000","90,000,000",3.5\n',
        "N;D;loss\n1000000;20000000;4,5\n2000000;40000000;4,0\n4000000;90000000;3,5\n",
        "N,D,loss,note\n1e6,2e7,4.5,\n2e6,4e7,4.0,\n4e6,9e7,3.5,slow\n",
    ],
)  # fmt: skip
def test_spellings_of_one_table(tmp_path, text):
    runs = read(tmp_path, text)
    np.testing.assert_array_equal(runs.columns["N"], [1e6, 2e6, 4e6])
    np.testing.assert_array_equal(runs.columns["D"], [2e7, 4e7, 9e7])
    np.testing.assert_array_equal(runs.loss, [4.5, 4.0, 3.5])
    assert runs.account == "3 rows read, 0 left out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('N,D,loss\n1e6,2e7,"4.5\n2e6,4e7,4.0\n', "runs.csv, line 2: a quote is not closed"),
        (PLAIN + "8e6,2e8,3.0,x\n", "runs.csv, line 5 has 4 fields, the header 3"),
        (PLAIN + "8e6,2e8\n", "runs.csv, line 5 has 2 fields, the header 3"),
        ("N,D,loss,N\n1e6,2e7,4.5,1\n", "runs.csv has two columns 'N'"),
        ("1e6,2e7,4.5\n2e6,4e7,4.0\n", "has no line with the names of its columns"),
        ("N,D,loss\n1e6,2e7,\n", "runs.csv, line 2: loss is missing"),
        ("N,D,loss\n1e6,2e7,nan\n", "runs.csv, line 2: loss is nan"),
        ("N,D,loss\n7,1.4,2.0\n70,1.4,1.9\n", "D is at most 1.4: in which unit"),
        ("N;D;loss\n1e6;2e7;2,397\n2e6;4e7;2,211\n", "'2,397' could be thousands or a decimal"),
        ("N,D,loss\n", "it has no rows"),
        (b"\xff\xfeN\x00", "cannot read"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_columns_of_json_lines_are_those_of_all_rows(tmp_path):
    rows = [{"N": 1e6, "D": 2e7, "loss": 4.5}, {"N": 2e6, "D": 4e7, "loss": 4.0, "U": 1e7}]
    runs = read(tmp_path, "\n".join(map(json.dumps, rows)), "runs.jsonl")
    with pytest.raises(ValueError, match=r"runs.jsonl, line 1: U is missing"):
        runs.inputs(FORMS["data-constrained"])
    assert runs.inputs(FORMS["chinchilla"]).shape == (2, 2)
    with pytest.raises(ValueError, match="line 1 is not a JSON object: 'N' is there twice"):
        read(tmp_path, '{"N": 1, "N": 2, "loss": 1}', "runs.jsonl")


def test_empty_cells_matter_only_where_they_are_read(tmp_path):
    runs = read(tmp_path, "N,D,U,loss\n1e6,2e7,,4.5\n2e6,4e7,1e7,4.0\n")
    assert runs.inputs(FORMS["chinchilla"]).shape == (2, 2)
    with pytest.raises(ValueError, match=r"runs.csv, line 2: U is missing"):
        runs.inputs(FORMS["data-constrained"])


def test_rows_are_chosen_and_accounted_for(tmp_path):
    text = "run,dataset,N,D,loss,role\na,rpj,1e6,2e7,4.5,fit\nb,rpj,1e6,2e7,4.4,fit\n"
    text += "c,c4,1e6,2e7,4.0,fit\nd,rpj,2e6,2e7,4.2,holdout\ne,rpj,5e5,2e7,4.9,seed\n"
    runs = read(tmp_path, text, where=["dataset=rpj"], best=True)
    assert runs.names == ["b", "d"]
    assert runs.account == ("5 rows read, 3 left out (not dataset=rpj 1, role seed 1, "
                            "not the best of its N and D 1)")  # fmt: skip
    np.testing.assert_array_equal(runs.held_out, [False, True])
    assert runs.held_by == "role"
    by_size = read(tmp_path, text, holdout="N<1.5e6")
    np.testing.assert_array_equal(by_size.held_out, [True, True, True, False])
    with pytest.raises(ValueError, match="asks for a column 'model'"):
        read(tmp_path, text, where=["model=x"])
    with pytest.raises(ValueError, match="is no condition such as"):
        read(tmp_path, text, where=["dataset"])
    with pytest.raises(ValueError, match="cannot be compared: dataset>3"):
        read(tmp_path, text, where=["dataset>3"])
    with pytest.raises(ValueError, match="leaves nothing to predict"):
        read(tmp_path, text, holdout="N>1e9")


def test_held_out_by_role_are_those_rows_wherever_they_lie(tmp_path):
    runs = read(tmp_path, "N,D,loss,role\n1e6,2e7,4.5,holdout\n2e6,4e7,4.0,fit\n4e6,9e7,3.5,fit\n")
    np.testing.assert_array_equal(runs.held_out, [True, False, False])
    assert runs.holdout_above is None


def test_units_are_converted_or_asked_for(tmp_path):
    text = "N,D,val_bpb\n7,1400,1.0\n70,1400,0.9\n"
    with pytest.raises(ValueError, match="val_bpb seems to be in bits: say --units loss=bits"):
        read(tmp_path, text, columns={"loss": "val_bpb"}, units={"N": "billions"})
    units = {"N": "billions", "D": "billions", "loss": "bits"}
    runs = read(tmp_path, text, columns={"loss": "val_bpb"}, units=units)
    np.testing.assert_allclose(runs.columns["N"], [7e9, 7e10])
    np.testing.assert_allclose(runs.loss, np.array([1.0, 0.9]) * math.log(2))
    with pytest.raises(ValueError, match="--units N=bits must be one of"):
        read(tmp_path, text, columns={"loss": "val_bpb"}, units={"N": "bits"})
    with pytest.raises(ValueError, match="seems to be a perplexity"):
        read(tmp_path, "N,D,ppl\n1e6,1e7,30\n", columns={"loss": "ppl"})


def test_a_column_run_tells_repeats_apart(tmp_path):
    twice = "N,D,loss\n1e6,2e7,4.5\n1e6,2e7,4.5\n"
    with pytest.raises(ValueError, match="line 2 and line 3 are the same"):
        read(tmp_path, twice)
    seeds = "run,N,D,loss\ns1,1e6,2e7,4.5\ns2,1e6,2e7,4.5\n"
    assert len(read(tmp_path, seeds)) == 2
    with pytest.raises(ValueError, match="are the same"):
        read(tmp_path, seeds.replace("s2", "s1"))


def test_a_file_without_runs_is_one_curve(tmp_path):
    curve = "step,learning_rate,loss\n1,0.1,5.0\n100,0.1,4.0\n200,0.01,3.5\n"
    (tmp_path / "a.csv").write_text(curve)
    (tmp_path / "b.csv").write_text(curve)
    runs = read_runs([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert runs.names == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(runs.columns["S1"][:3], runs.columns["S1"][3:])
    with pytest.raises(ValueError, match="the curve runs has step 1 twice; several curves in a"):
        read(tmp_path, curve + "1,0.1,4.9\n")


def test_the_mean_of_the_last_rows_of_each_run(tmp_path):
    text = "run,N,D,loss\na,1e6,1e6,5\na,1e6,2e6,4\na,1e6,3e6,3\nb,2e6,1e6,2.5\n"
    runs = read(tmp_path, text, last=2)
    assert runs.names == ["a", "b"]
    np.testing.assert_array_equal(runs.loss, [3.5, 2.5])
    np.testing.assert_array_equal(runs.columns["D"], [3e6, 1e6])
    assert runs.left_out == {"not the last of its run, of which 2 are averaged": 2}
