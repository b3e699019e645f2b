"""numpylm train --tokenizer bpe, and numpylm tokenize, as a user calls them."""

import json

import pytest

from numpylm.cli import main
from numpylm.data.bpe import train_bpe
from numpylm.data.tokenizer_files import load_tokenizer
from numpylm.pipelines.language_model import load
from numpylm.training.run_folder import open_run

TEXT = "the cat sat on the mat; the dog sat on the log\n" * 40
SMALL = ["--n-layers", "1", "--n-heads", "1", "--d-model", "8", "--d-ff", "8", "--threads", "1",
         "--batch-size", "2", "--context", "8", "--eval-every", "4", "--warmup", "0"]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def run(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_a_model_of_subwords_is_trained_resumed_and_writes(here, capsys):
    train = ["train", "--corpus", "text.txt", "--tokenizer", "bpe", "--vocab-size", "270"]
    run(capsys, *train, "--name", "bpe", "--steps", "4", *SMALL)
    assert open_run("runs/bpe").config.vocab_size == 270
    assert load_tokenizer("runs/bpe").vocab_size == 270
    run(capsys, "train", "--resume", "runs/bpe")
    text = run(capsys, "generate", "runs/bpe", "--prompt", "the café", "--tokens", "5")
    assert text.startswith("the café")
    assert load("runs/bpe").loss("the cat sat on the mat") > 0


def test_vocab_size_is_read_with_bpe_alone(here, capsys):
    assert main(["train", "--corpus", "text.txt", "--vocab-size", "270", *SMALL]) == 2
    assert "vocab_size has no effect with tokenizer char" in capsys.readouterr().err
    assert main(["train", "--corpus", "text.txt", "--tokenizer", "bpe", "--vocab-size", "9"]) == 2
    assert "vocab_size is 9; a vocabulary holds at least 256 bytes" in capsys.readouterr().err


def test_tokens_are_shown_counted_and_given_as_json(here, capsys):
    tokenizer = train_bpe(TEXT, 270)
    (here / "tokenizer.json").write_text(tokenizer.to_json())
    shown = run(capsys, "tokenize", ".", "the é").splitlines()
    assert shown[0].split() == [str(tokenizer.encode("the")[0]), "'the'"]
    assert shown[-2].endswith(r"'\\xa9'"), "half a character is shown as its byte"
    assert shown[-1] == "4 tokens, 5 characters, 6 bytes; 1.25 characters a token"
    counted = run(capsys, "tokenize", "tokenizer.json", "--file", "text.txt", "--count")
    assert counted.startswith(f"{len(tokenizer.encode(TEXT)):,} tokens, 1,880 characters")
    found = json.loads(run(capsys, "tokenize", ".", "the cat", "--json"))
    assert found["ids"] == tokenizer.encode("the cat").tolist()
    assert "".join(found["pieces"]) == "the cat"
    (here / "bytes.json").write_text('{"kind": "byte"}')
    assert run(capsys, "tokenize", "bytes.json", "a").splitlines()[0].split() == ["97", "'a'"]
    assert run(capsys, "tokenize", ".", "").startswith("0 tokens, 0 characters, 0 bytes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((".",), "give a text or --file"),
        ((".", "a", "--file", "text.txt"), "give a text or --file"),
        (("nowhere", "a"), "cannot read nowhere"),
        (("text.txt", "a"), "text.txt: the tokenizer file is damaged"),
    ],
)
def test_bad_input_is_one_line(here, capsys, arguments, message):
    assert main(["tokenize", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
