"""Published folders: what transformers answered for ours, both dialects, and files of strangers."""

import json
from pathlib import Path

import numpy as np
import pytest

from numpylm.hub.hugging_face import FAMILIES, load_folder, save_folder, settings_of
from numpylm.hub.names import fill, published
from numpylm.hub.safetensors_files import INDEX, bfloat16_bits, read_tensors, write_tensors
from numpylm.layers.rotary import Llama3Scaling
from numpylm.models.counting import parameter_counts, training_flops
from numpylm.models.gpt import GPTConfig
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parameters import leaves, pack, view
from tests.hub.families import IDS, MODELS, direction, model

ORACLES = Path(__file__).parent / "oracles"
families = pytest.mark.parametrize("name", MODELS)


def table(config):
    return FAMILIES[settings_of(config)["model_type"]].table


@families
def test_logits_loss_and_gradients_are_those_of_transformers(name, tmp_path):
    wanted = json.loads((ORACLES / f"{name}.json").read_text())
    save_folder(tmp_path, *model(name))
    p, config = load_folder(tmp_path)
    forward, _ = LANGUAGE_MODELS[type(config)]
    logits, _ = forward(p, IDS, config=config)
    np.testing.assert_allclose(logits[:, -2:], wanted["logits"], rtol=0, atol=1e-5)
    loss, cache = causal_lm_forward(p, IDS[:, :-1], IDS[:, 1:], config=config)
    assert float(loss) == pytest.approx(wanted["loss"], abs=2e-6)
    size = sum(a.size for _, a in leaves(p))
    dp = view(p, np.zeros(size, np.float32))
    causal_lm_backward(p, dp, np.float32(1.0), cache)
    prefix = "transformer." if isinstance(config, GPTConfig) else ""
    found = {prefix + n: g for n, g in published(dp, table(config)).items()}
    assert found.keys() == wanted["projections"].keys()
    for n, gradient in found.items():
        projected = float((gradient.astype(np.float64) * direction(n, gradient.shape)).sum())
        scale = wanted["norms"][n]  # of a projection on a drawn direction
        assert projected == pytest.approx(wanted["projections"][n], abs=2e-5 * scale), n
        assert np.linalg.norm(gradient) == pytest.approx(scale, rel=1e-4), n


@families
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_written_is_read_again(name, dtype, tmp_path):
    p, config = model(name)
    save_folder(tmp_path, p, config, dtype=dtype)
    again, found = load_folder(tmp_path)
    assert found.__dict__ | {"init": "", "dropout": 0} == config.__dict__ | {
        "init": "",
        "dropout": 0,
    }
    digits = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    for (n, a), (_, b) in zip(leaves(p), leaves(again), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=digits, atol=1e-7 if digits else 0, err_msg=n)


@families
def test_parameters_and_flops_are_counted(name):
    p, config = model(name)
    assert parameter_counts(config)["total"] == sum(a.size for _, a in leaves(p))
    assert training_flops(config, 2, 30) > 6 * parameter_counts(config)["blocks"] * 60


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even():
    bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000], np.uint32)
    found = bfloat16_bits(bits.view(np.float32))
    assert [hex(n) for n in found] == ["0x3f80", "0x3f80", "0x3f82", "0x3f81", "0x7f80"]
    assert bfloat16_bits(np.array([np.nan], np.float32))[0] == 0x7FC0


def test_shards_with_an_index(tmp_path):
    p, config = model("llama")
    save_folder(tmp_path, p, config)
    tensors = read_tensors(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    halves = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    for shard, names in halves.items():
        write_tensors(tmp_path / shard, {n: tensors[n] for n in names})
    places = {n: shard for shard, names in halves.items() for n in names}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
    again, _ = load_folder(tmp_path)
    np.testing.assert_array_equal(pack(again)[0], pack(p)[0])
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ValueError, match=r"b\.safetensors is missing: .* names 2 shards"):
        load_folder(tmp_path)


def edited(folder, **changes):
    path = folder / "config.json"
    entries = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({n: v for n, v in entries.items() if v != "gone"}))


def test_both_dialects_of_rotary_settings(tmp_path):
    p, config = model("llama-3")
    save_folder(tmp_path, p, config)
    new = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
           "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
    edited(tmp_path, rope_theta="gone", rope_scaling="gone", rope_parameters=new)
    assert load_folder(tmp_path)[1] == config
    edited(tmp_path, rope_parameters="gone", rope_theta=10000)
    assert load_folder(tmp_path)[1].scaling is None
    assert config.scaling == Llama3Scaling(8.0, 1.0, 4.0, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma"}, "model_type 'gemma' is none of gpt2, llama, mistral"),
        ({"model_type": "gone"}, "has no model_type"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'silu' is computed here"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_size": "24"}, "hidden_size is '24', not of type int"),
        ({"hidden_size": 10**12}, "numbers; its config.json wants"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": 3}, "numbers; its config.json wants"),
        ({"tie_word_embeddings": False}, "numbers; its config.json wants"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type 'yarn' is not computed here"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "has no factor"),
        ({"rms_norm_eps": None, "intermediate_size": None}, "has no intermediate_size"),
    ],
)
def test_a_configuration_that_we_do_not_compute_is_refused(changes, message, tmp_path):
    save_folder(tmp_path, *model("llama"))
    edited(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)


def broken(path, how):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(n for n in header if n != "__metadata__")
    if how == "truncated":
        return path.write_bytes(data[:-100])
    if how == "header":
        return path.write_bytes(data[:30])
    if how == "no json":
        return path.write_bytes(data[:8] + b"x" * length + data[8 + length :])
    if how == "dtype":
        header[name]["dtype"] = "F8_E4M3"
    if how == "huge":
        header[name]["shape"] = [2**62, 2**62]
    if how == "negative":
        header[name]["data_offsets"] = [-4, 0]
    if how == "nothing":
        header[name] = 7
    if how == "extra":
        header["more"] = header[name]
    if how == "other shape":
        header[name]["shape"] = [header[name]["shape"][0] * 2, header[name]["shape"][1] // 2]
    text = json.dumps(header).encode()
    return path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "cannot lie at bytes"),
        ("header", "is cut off in its header"),
        ("no json", "its header is no JSON object"),
        ("dtype", "has dtype 'F8_E4M3', which is not read here"),
        ("huge", "cannot lie at bytes"),
        ("negative", "says nothing of use"),
        ("nothing", "says nothing of use"),
        ("extra", "numbers; its config.json wants"),
        ("other shape", "lm_head|our tokens.weight|embed_tokens"),
    ],
)
def test_a_file_of_a_stranger_gives_one_line(how, message, tmp_path):
    save_folder(tmp_path, *model("llama"))
    broken(tmp_path / "model.safetensors", how)
    with pytest.raises(ValueError, match=message) as error:
        load_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    p, config = model("qwen2")
    p.layers[0].attention.key.bias[1] = np.nan
    save_folder(tmp_path, p, config)
    with pytest.raises(ValueError, match=r"k_proj\.bias holds numbers that are not finite"):
        load_folder(tmp_path)


def test_a_missing_array_is_named(tmp_path):
    p, config = model("llama")
    tensors = published(p, table(config))
    del tensors["model.norm.weight"]
    with pytest.raises(ValueError, match=r"here has no model\.norm\.weight, our norm\.gamma"):
        fill(p, tensors, table(config), "here")


def test_a_model_that_no_family_has_is_not_written(tmp_path):
    config = GPTConfig(vocab_size=9, positions="alibi")
    with pytest.raises(ValueError, match="GPT-2 has learned positions"):
        save_folder(tmp_path, *model("gpt2")[:1], config)
