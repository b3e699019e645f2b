"""§5.4 ``numpylm.load``: the trained model as a reader uses it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import numpylm
from numpylm.data.vocabulary import ByteTokenizer, CharTokenizer, WordTokenizer
from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import generate
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.parameters import leaves, pack
from numpylm.pipelines.language_model import LanguageModel
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer

TEXT = "a rose is a rose is a rose\n" * 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for each tokenizer."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    config = TrainConfig(
        corpus=str(folder / "text.txt"), n_layers=1, n_heads=2, d_model=16, d_ff=32, context=8,
        batch_size=8, steps=120, warmup=5, eval_every=120, lr=1e-2,
    )  # fmt: skip
    for kind in ("char", "word", "byte"):
        Trainer.start(folder / kind, dataclasses.replace(config, tokenizer=kind)).fit(log=None)
    return folder


def test_it_has_learned_the_text(runs):
    lm = numpylm.load(runs / "char")
    assert lm.step == 120
    assert lm.generate("a rose", tokens=14, temperature=0.0) == "a rose is a rose is "


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_generate_is_seeded_and_keeps_the_prompt(runs, kind):
    lm = numpylm.load(runs / kind)
    text = lm.generate("a rose", tokens=12, seed=3)
    assert text.startswith("a rose")
    assert lm.generate("a rose", tokens=12, seed=3) == text
    pieces = list(lm.stream("a rose", tokens=12, seed=3, temperature=0.8))
    assert "a rose" + "".join(pieces) == text
    assert isinstance(lm.generate(tokens=5), str)


def test_another_seed_another_text(runs):
    lm = numpylm.load(runs / "char")
    texts = {lm.generate("a rose", tokens=12, temperature=2.0, seed=seed) for seed in range(4)}
    assert len(texts) == 4


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_the_pieces_are_the_decoded_ids(runs, kind):
    lm = numpylm.load(runs / kind)
    prompt = "a rose is"
    drawn = lm.generate(prompt, tokens=30, temperature=3.0, seed=5)
    ids = lm.tokenizer.encode(prompt)
    model = CachedGPT(lm.p, lm.config)
    new = generate(model, ids, 30, rng=np.random.default_rng(5), temperature=3.0)
    assert drawn == lm.tokenizer.decode(np.append(ids, [*new]))
    assert lm.generate(prompt, tokens=0) == prompt


def test_half_a_character_is_not_printed():
    """Bytes are drawn one by one; é has two of them."""

    config = GPTConfig(
        vocab_size=256, context=8, n_layers=1, n_heads=1, d_model=4, d_ff=4, positions="none"
    )
    _, p = gpt_init(0, config)
    ids = iter([*"é!".encode(), 0xFF])
    lm = LanguageModel(p, config, ByteTokenizer(), step=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numpylm.pipelines.language_model.generate", lambda *_, **__: ids)
        assert list(lm.stream("a", tokens=4)) == [
            "é",
            "!",
            "\N{REPLACEMENT CHARACTER}",
        ]


@pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer("\n ab\N{REPLACEMENT CHARACTER}"),
        WordTokenizer(("<unk>", "<eos>", "a", "", "be", "\N{REPLACEMENT CHARACTER}")),
        ByteTokenizer(),
    ],
    ids=lambda t: t.kind,
)
def test_pieces_of_any_ids_make_the_text_of_all_ids(tokenizer, monkeypatch):
    """Also of bytes that are no UTF-8, and of pieces that are drawn after half a character."""
    lm = LanguageModel(None, None, tokenizer, step=0)
    rng = np.random.default_rng(0)
    prompts = {"char": "b", "word": "a <unk>\n", "byte": "é"}
    start = tokenizer.encode(prompts[tokenizer.kind])
    for _ in range(200 if tokenizer.kind == "byte" else 20):
        chosen = rng.integers(0, tokenizer.vocab_size, 12)
        if tokenizer.kind == "byte":  # mostly parts of characters of two to four bytes
            chosen = rng.choice(np.frombuffer("aé€\U0001f600\xff".encode(), np.uint8), 12)
        monkeypatch.setattr(
            "numpylm.pipelines.language_model.generate",
            lambda *_, new=chosen, **__: iter(new.tolist()),
        )
        text = "".join(lm.stream(tokenizer.decode(start)))
        everything = tokenizer.decode(np.append(start, chosen))
        assert text == everything[len(tokenizer.decode(start)) :]


def test_it_prints_short(runs):
    text = repr(numpylm.load(runs / "char"))
    assert "parameters, char tokens, step 120" in text
    assert len(text) < 400


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "checkpoint.safetensors"])
def test_files_of_another_run_are_refused(runs, tmp_path, name):
    shutil.copytree(runs / "char", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    if name == "config.json":
        config["settings"]["n_heads"] = 4
        (tmp_path / "run/config.json").write_text(json.dumps(config))
    elif name == "tokenizer.json":
        tokenizer = json.loads((tmp_path / "run/tokenizer.json").read_text())
        tokenizer["symbols"] = "".join(chr(ord(c) + 1) for c in tokenizer["symbols"])
        (tmp_path / "run/tokenizer.json").write_text(json.dumps(tokenizer))
    else:
        shutil.copy(runs / "byte" / name, tmp_path / "run" / name)
    with pytest.raises(ValueError, match="does not belong to config.json and tokenizer.json"):
        numpylm.load(tmp_path / "run")


def test_loss_is_the_mean_over_every_token_but_the_first(runs):
    lm = numpylm.load(runs / "char")
    text = TEXT[:21]  # two windows of 8 and a rest of 4
    ids = lm.tokenizer.encode(text)
    expected = []
    for start in range(0, 20, 8):
        window = ids[start : start + 8]
        window = window[: 20 - start]
        logits, _ = gpt_forward(lm.p, window[None], config=lm.config)
        log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
        expected += [-log_p[t, ids[start + t + 1]] for t in range(len(window))]
    assert len(expected) == 20
    assert lm.loss(text) == pytest.approx(np.mean(expected), rel=1e-5)


def test_logits_have_a_row_for_each_id(runs):
    lm = numpylm.load(runs / "char")
    ids = lm.tokenizer.encode("a rose")
    logits = lm.logits(ids)
    assert logits.shape == (6, lm.config.vocab_size)
    assert lm.tokenizer.decode([logits[-1].argmax()]) == " "


def test_unknown_characters_are_named_unknown_words_are_unk(runs):
    with pytest.raises(ValueError, match="does not know 'X'"):
        numpylm.load(runs / "char").generate("X")
    assert numpylm.load(runs / "word").generate("X", tokens=3).startswith("X")


def test_a_loss_needs_two_tokens(runs):
    with pytest.raises(ValueError, match="at least 2 tokens, the text has 1"):
        numpylm.load(runs / "char").loss("a")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        numpylm.load(tmp_path)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = numpylm.nothing


def float64(lm):
    """The same model, for finite differences."""
    theta, p = pack(lm.p, np.float64)
    return theta, dataclasses.replace(lm, p=p)


def test_attention_is_that_of_each_layer_and_head_and_never_looks_ahead(runs):
    lm = numpylm.load(runs / "char")
    weights = lm.attention("a rose")
    assert weights.shape == (1, 2, 6, 6)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-6)
    assert (weights[:, :, ~np.tri(6, dtype=bool)] == 0.0).all()
    np.testing.assert_allclose(lm.attention("a ro"), weights[:, :, :4, :4], rtol=1e-5, atol=1e-7)
    for text, n in (("", 0), ("a rose is", 9)):
        with pytest.raises(ValueError, match=f"{n} tokens; attention is shown for 1 to .* of 8"):
            lm.attention(text)


@pytest.mark.parametrize("text", ["a rose", "a rose is a rose is a"])
def test_the_gradient_of_a_text_is_that_of_its_loss(runs, text):
    """Also of a text that is longer than the context: along a direction, in float64."""
    theta, lm = float64(numpylm.load(runs / "char"))
    gradient = lm.gradient(text)
    names = [name for name, _ in leaves(lm.p)]
    assert [name for name, _ in leaves(gradient)] == names
    assert "decoder.layers.0.self_attention.query.weight" in names
    flat = np.concatenate([a.ravel() for _, a in leaves(gradient)])
    direction, start = np.random.default_rng(0).standard_normal(theta.size), theta.copy()
    losses = []
    for h in (1e-6, -1e-6):
        theta[:] = start + h * direction
        losses.append(lm.loss(text))
    assert flat @ direction == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6)
    with pytest.raises(ValueError, match="at least 2 tokens, the text has 1"):
        lm.gradient("a")
