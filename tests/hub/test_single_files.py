"""One-file models: llama2.c's text byte for byte, GGUF's blocks against their definition."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from numpylm.generation.kv_cache import CachedGPT
from numpylm.hub.gguf import dequantised, load_gguf, read_gguf
from numpylm.hub.llama2c import read_llama2c
from numpylm.hub.names import GGUF_LLAMA, published
from numpylm.layers.rotary import rotary_forward
from numpylm.models.llama import LlamaConfig, llama_forward
from tests.hub.families import IDS, model

STORIES = Path(os.environ.get("NUMPYLM_DATA", "/nowhere")) / "stories260K"
CONFIG = {"n_heads": 4, "n_kv_heads": 2, "d_head": 6}


def interleaved(p):
    """Parameters whose queries and keys have each head's columns in the other pairing."""
    for layer in p.layers:
        for linear in (layer.attention.query, layer.attention.key):
            w = linear.weight.reshape(24, -1, 2, 3)
            linear.weight[...] = w.swapaxes(2, 3).reshape(24, -1)
    return p


def write_llama2c(path, p, config):
    stacks = [
        [layer.attention_norm.gamma for layer in p.layers],
        *([getattr(layer.attention, n).weight.T for layer in p.layers]
          for n in ("query", "key", "value", "output")),
        [layer.feed_forward_norm.gamma for layer in p.layers],
        *([getattr(layer.feed_forward, n).weight.T for layer in p.layers]
          for n in ("gate", "down", "up")),
    ]  # fmt: skip
    arrays = [p.tokens.weight, *(a for stack in stacks for a in stack), p.norm.gamma]
    arrays += [np.zeros((config.context, config.d_head // 2))] * 2
    if p.output is not None:
        arrays.append(p.output.weight.T)
    sign = 1 if config.tied else -1
    header = (config.d_model, config.d_ff, config.n_layers, config.n_heads, config.n_kv_heads,
              sign * config.vocab_size, config.context)  # fmt: skip
    data = b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)
    path.write_bytes(struct.pack("<7i", *header) + data)


@pytest.mark.parametrize("name", ["llama", "llama-3"])
def test_llama2c_is_the_model_in_the_other_pairing(name, tmp_path):
    p, config = model(name)
    expected, _ = llama_forward(p, IDS, config=config)
    write_llama2c(tmp_path / "m.bin", interleaved(p), config)
    again, found = read_llama2c(tmp_path / "m.bin")
    assert (found.pairing, found.tied) == ("interleaved", config.tied)
    if config.scaling is None:
        logits, _ = llama_forward(again, IDS, config=found)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        wrong = LlamaConfig(**(found.__dict__ | {"pairing": "halves"}))
        assert not np.allclose(llama_forward(again, IDS, config=wrong)[0], expected, atol=1e-2)
    data = (tmp_path / "m.bin").read_bytes()
    for bad in (data[:-4], data[:20], b"", struct.pack("<7i", *[2**30] * 7) + data[28:]):
        (tmp_path / "bad.bin").write_bytes(bad)
        with pytest.raises(ValueError, match=r"bad\.bin (is no model of llama2|has \d+ bytes; a)"):
            read_llama2c(tmp_path / "bad.bin")


@pytest.mark.skipif(not STORIES.is_dir(), reason="NUMPYLM_DATA names no stories260K")
def test_a_published_model_tells_its_published_story():
    p, config = read_llama2c(STORIES / "stories260K.bin")
    data = (STORIES / "tok512.bin").read_bytes()
    at, pieces = 4, []
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        pieces.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    read, ids = CachedGPT(p, config), [1]
    for _ in range(200):
        ids.append(int(read(ids).argmax()))
    text = b"".join(bytes([int(x[3:5], 16)]) if x.startswith(b"<0x") else x
                    for x in (pieces[i] for i in ids[1:]))  # fmt: skip
    assert text.lstrip() == (STORIES / "expected.txt").read_bytes()


def gguf(settings, tensors, version=3):
    def text(s):
        return struct.pack("<Q", len(s.encode())) + s.encode()

    kinds = {str: (8, text), int: (4, lambda n: struct.pack("<I", n)),
             float: (6, lambda x: struct.pack("<f", x))}  # fmt: skip
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(settings))
    for key, value in settings.items():
        kind, write = kinds[type(value)]
        head += text(key) + struct.pack("<I", kind) + write(value)
    offset, body = 0, b""
    for name, (shape, kind, data) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", kind, offset)
        padded = data + bytes(-len(data) % 32)
        body += padded
        offset += len(padded)
    return head + bytes(-len(head) % 32) + body


def settings(config):
    return {
        "general.architecture": "llama", "llama.context_length": config.context,
        "llama.block_count": config.n_layers, "llama.embedding_length": config.d_model,
        "llama.feed_forward_length": config.d_ff, "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": config.eps,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path):
    p, config = model("llama")
    expected, _ = llama_forward(p, IDS, config=config)
    tensors = {n: (a.shape, 0, np.ascontiguousarray(a, "<f4").tobytes())
               for n, a in published(interleaved(p), GGUF_LLAMA).items()}  # fmt: skip
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(settings(config), tensors))
    return path, expected, tensors, settings(config)


def test_gguf_is_the_model_in_the_other_pairing(file):
    path, expected, *_ = file
    p, config, _ = load_gguf(path)
    logits, _ = llama_forward(p, IDS, config=config)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [1, 2, 3, 8, 30])
def test_blocks_are_what_they_are_defined_as(kind, rng, tmp_path):
    raw, wanted = [], []
    for _ in range(6):
        d, m = (np.float16(x) for x in rng.standard_normal(2))
        q = rng.integers(0, 16, 32)
        nibbles = bytes(int(a | b << 4) for a, b in zip(q[:16], q[16:], strict=True))
        if kind == 2:
            raw.append(d.tobytes() + nibbles)
            wanted += [float(d) * (n - 8) for n in q]
        elif kind == 3:
            raw.append(d.tobytes() + m.tobytes() + nibbles)
            wanted += [float(d) * n + float(m) for n in q]
        elif kind == 8:
            q = rng.integers(-128, 128, 32).astype(np.int8)
            raw.append(d.tobytes() + q.tobytes())
            wanted += [float(d) * int(n) for n in q]
        else:
            numbers = rng.standard_normal(32).astype(np.float16 if kind == 1 else np.float32)
            half = numbers if kind == 1 else (numbers.view(np.uint32) >> 16).astype("<u2")
            raw.append(half.tobytes())
            exact = numbers if kind == 1 else (half.astype(np.uint32) << 16).view(np.float32)
            wanted += exact.tolist()
    path = tmp_path / "t.gguf"
    path.write_bytes(gguf({}, {"t": ((3, 64), kind, b"".join(raw))}))
    found = dequantised(*read_gguf(path).tensors["t"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-6, atol=1e-7)


def test_a_file_of_a_stranger_gives_one_line(file, tmp_path):
    path, _, tensors, known = file
    data = path.read_bytes()
    name = next(iter(tensors))
    cases = {
        "cut off": data[: len(data) // 2],
        "does not begin with GGUF": b"GGML" + data[4:],
        "version 9": gguf(known, tensors, version=9),
        "arrays, 2 settings|cut off": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2),
        "architecture 'gemma'": gguf(known | {"general.architecture": "gemma"}, tensors),
        "has type 12; read here are": gguf(known, tensors | {name: ((24,), 12, bytes(96))}),
        "numbers; its settings want": gguf(known | {"llama.block_count": 3}, tensors),
        "its settings want ": gguf(known | {"llama.feed_forward_length": 2**31}, tensors),
        "head_count is 0": gguf(known | {"llama.attention.head_count": 0}, tensors),
        "has no whole Q8_0 blocks": gguf(known, tensors | {name: ((33,), 8, bytes(96))}),
        "has no token_embd": gguf(known, {n: t for n, t in tensors.items() if "token" not in n}),
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            load_gguf(path)
        assert "\n" not in str(error.value)


def test_the_pairings_differ_where_a_reader_would_see_it(rng):
    x = rng.standard_normal((5, 6))
    assert not np.allclose(rotary_forward(x)[0], rotary_forward(x, pairing="interleaved")[0])
