"""§5.2 Settings: presets as published, and one clear error for what cannot work."""

import dataclasses
import json

import numpy as np
import pytest

from numpylm.data.batches import BPTTColumns
from numpylm.training.presets import PRESETS, preset
from numpylm.training.train_config import (
    CHOICES,
    READ_BY,
    SETTINGS,
    TrainConfig,
    config_from_dict,
    require_read,
)


def test_nanogpt_cpu_is_the_published_configuration():
    c = preset("nanogpt-cpu")
    assert (c.n_layers, c.n_heads, c.d_model, c.d_ff, c.context) == (4, 4, 128, 512, 64)
    assert (c.batch_size, c.activation, c.norm, c.positions) == (12, "gelu", "pre", "learned")
    assert (c.tied, c.bias, c.dropout) == (True, False, 0.0)
    assert (c.optimizer, c.lr, c.min_lr, c.schedule) == ("adamw", 1e-3, 1e-4, "cosine")
    assert (c.steps, c.warmup, c.beta1, c.beta2) == (2000, 100, 0.9, 0.99)
    assert (c.weight_decay, c.clip) == (0.1, 1.0)


def test_textbook_has_what_the_textbook_gives():
    """batch_size 128 and bptt_len 35 of its §5.1, the order of parts of its §3.1; whole epochs."""
    c = preset("textbook")
    assert (c.corpus, c.tokenizer, c.batching) == ("wikitext2", "word", "bptt")
    assert (c.batch_size, c.context) == (128, 35)
    assert (c.norm, c.positions, c.tied) == ("post", "sinusoidal", False)
    epoch = BPTTColumns(np.zeros(2_088_628, np.int8), c.batch_size, c.context).chunks_per_epoch
    assert c.steps % epoch == 0
    assert c.eval_every == c.decay_every == epoch


def test_pytorch_wikitext2_is_the_recipe_of_pytorchs_example():
    """examples/word_language_model, its Transformer."""
    c = preset("pytorch-wikitext2")
    assert (c.n_layers, c.n_heads, c.d_model, c.d_ff, c.dropout) == (2, 2, 200, 200, 0.2)
    assert (c.batching, c.batch_size, c.context, c.tokenizer) == ("bptt", 20, 35, "word")
    assert (c.norm, c.activation, c.positions, c.tied) == ("post", "relu", "sinusoidal", False)
    assert (c.optimizer, c.lr, c.clip) == ("sgd", 5.0, 0.25)  # as PyTorch's word_language_model
    assert (c.schedule, c.decay_factor, c.warmup) == ("plateau", 0.25, 0)
    assert c.steps % c.eval_every == 0  # whole epochs


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    data = json.loads(json.dumps(dataclasses.asdict(preset(name))))
    assert config_from_dict(data) == preset(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 510, "n_heads": 8}, "d_model 510 is not divisible by n_heads 8"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"context": 2.5}, "context is 2.5; it must be of type int"),
        ({"tied": 1}, "tied is 1; it must be of type bool"),
        ({"dropout": 1.0}, r"dropout 1.0 is not in \[0, 1\)"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"positions": "alibi", "alibi_scale": 0.0}, "alibi_scale is 0.0; it must be positive"),
        ({"lr": float("nan")}, "lr is nan; it must be finite"),
        ({"min_lr": 0.1}, "min_lr 0.1 is above lr 0.002"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"beta1": 1.0}, r"beta1 is 1.0; it must be in \[0, 1\)"),
        ({"norm": "rms"}, "norm is 'rms'; it must be one of pre, post"),
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
        ({"seed": -1}, "seed is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"objective": "prefix"}, "objective is 'prefix'; it must be one of causal, masked"),
        ({"mask_rate": 0.0}, r"mask_rate 0.0 is not in \(0, 1\)"),
        ({"label_smoothing": 1.0}, r"label_smoothing 1.0 is not in \[0, 1\)"),
        ({"decay_factor": 0.0}, "decay_factor is 0.0; it must be positive"),
        ({"freeze_layers": -1}, "freeze_layers is -1; it must not be negative"),
        ({"freeze_layers": 3}, "freeze_layers 3 is above n_layers 2"),
        ({"freeze_trunk": True}, "freeze_trunk: causal has no head of its own"),
        ({"source_language": "de"}, "source_language and target_language go together"),
    ],
)
def test_what_cannot_work_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="'huge' is none of tiny"):
        preset("huge")


@pytest.mark.parametrize("data", [None, [], {}, {"lr": 1.0}])
def test_damaged_settings_are_refused(data):
    with pytest.raises(ValueError, match=r"settings in config\.json are damaged"):
        config_from_dict(data)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "bert", "batching": "bptt"}, "batching has no effect with objective bert"),
        ({"objective": "spans", "whole_words": True}, "read with objective masked, bert"),
        ({"objective": "bert", "tied": False}, "tied has no effect with objective bert"),
        ({"alibi_scale": 8.0}, "alibi_scale has no effect with positions learned; .* alibi"),
        ({"momentum": 0.9}, "momentum has no effect with optimizer adamw; .* optimizer sgd"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay has no effect"),
        ({"schedule": "plateau", "decay_every": 5}, "decay_every .* plateau; .* schedule step"),
        ({"tokenizer": "byte", "min_count": 2}, "min_count has no effect with tokenizer byte"),
    ],
)
def test_a_setting_that_would_not_be_read_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        require_read(TrainConfig(**given), given)


def test_settings_that_are_read_pass():
    given = {"optimizer": "sgd", "momentum": 0.9, "schedule": "step", "decay_every": 5, "lr": 1.0}
    require_read(TrainConfig(**given), given)
    assert set(READ_BY) <= set(SETTINGS)
    assert all(set(values) <= set(CHOICES[name]) for name, values in READ_BY.values())
