"""Settings to start from: one for each objective, and those of published runs."""

from __future__ import annotations

from numpylm.training.train_config import TrainConfig

PRESETS = {
    # The default: two layers and twice the learning rate learn most in a minute or two.
    "tiny": TrainConfig(),
    # nanoGPT's published sizes and optimisation for a CPU (its README and
    # config/train_shakespeare_char.py); with ``init="gpt2"`` its initialisation too.
    "nanogpt-cpu": TrainConfig(n_layers=4, lr=1e-3),
    # The textbook gives the corpus, the columns (batch_size 128, bptt_len 35; 467 steps are an
    # epoch) and a Transformer encoder of five arguments; it breaks off before their values. Sizes,
    # dropout and optimisation are ours; post-norm, relu and sines are those of its §3.1 and §4.3.
    "textbook": TrainConfig(
        corpus="wikitext2", tokenizer="word", batching="bptt", batch_size=128, context=35,
        n_layers=2, n_heads=4, d_model=128, d_ff=512, dropout=0.2, norm="post", activation="relu",
        positions="sinusoidal", tied=False, bias=True,
        lr=2e-3, schedule="step", decay_every=467, decay_factor=0.5, warmup=20,
        weight_decay=0.01, steps=467, eval_every=467,
    ),
    # PyTorch's example word_language_model: 2,984 steps are an epoch.
    "pytorch-wikitext2": TrainConfig(
        corpus="wikitext2", tokenizer="word", batching="bptt", batch_size=20, context=35,
        n_layers=2, n_heads=2, d_model=200, d_ff=200, dropout=0.2, norm="post", activation="relu",
        positions="sinusoidal", tied=False, bias=True,
        optimizer="sgd", lr=5.0, schedule="plateau", warmup=0, decay_factor=0.25,
        clip=0.25, steps=3 * 2984, eval_every=2984,
    ),
    # What is known to work: pre-norm, tied embeddings, AdamW with warm-up, a longer context, a bias
    # to what is near; 2,039 steps are an epoch.
    "wikitext2-better": TrainConfig(
        corpus="wikitext2", tokenizer="word", batch_size=8, context=128,
        n_layers=3, n_heads=8, d_model=256, d_ff=1024, dropout=0.2, positions="alibi",
        lr=1e-3, min_lr=1e-5, warmup=400, steps=4 * 2039, eval_every=2039,
    ),
    # Learned positions need many more steps until the neighbours of a masked word are looked at.
    "bert-tiny": TrainConfig(
        objective="bert", tokenizer="word", min_count=5, batch_size=16, context=128,
        n_heads=8, positions="alibi", bias=True,
        lr=2e-3, min_lr=2e-5, warmup=500, steps=6000, eval_every=1000,
    ),
    "denoising": TrainConfig(
        objective="spans", batch_size=16, context=96, positions="sinusoidal", bias=True,
        lr=1e-3, min_lr=1e-5, steps=3000, eval_every=500,
    ),
    # The sizes of the Transformer that small corpora are translated with; 227 steps are an epoch
    # of Multi30k.
    "translation": TrainConfig(
        objective="translation", corpus="generated", tokenizer="word", min_count=2,
        shared_vocabulary=False, batch_size=128, context=64,
        n_layers=3, n_heads=8, d_model=256, d_ff=512, dropout=0.2, activation="relu",
        positions="sinusoidal", bias=True, label_smoothing=0.1,
        optimizer="adam", lr=1e-3, min_lr=0.0, warmup=400, beta2=0.98, weight_decay=0.0,
        steps=2724, eval_every=227,
    ),
    "summarisation": TrainConfig(
        objective="summarisation", tokenizer="word", min_count=2, batch_size=32, context=112,
        n_layers=2, d_ff=256, dropout=0.3, positions="sinusoidal", bias=True, label_smoothing=0.1,
        lr=1e-3, steps=1000, eval_every=100,
    ),
    "toy": TrainConfig(
        objective="reverse", corpus="generated", tokenizer="word", batch_size=64, context=16,
        n_heads=4, d_model=64, d_ff=128, bias=True,
        lr=3e-3, min_lr=0.0, beta2=0.95, weight_decay=0.0,
        steps=1800, eval_every=600, threads=1,  # so small that two would wait for each other
    ),
    "classification": TrainConfig(
        objective="classification", tokenizer="word", min_count=2, batch_size=32, context=64,
        dropout=0.2, bias=True, lr=5e-4, min_lr=0.0, steps=1000, eval_every=100,
    ),
    "labelling": TrainConfig(
        objective="labelling", tokenizer="word", min_count=2, batch_size=32, context=64,
        dropout=0.1, bias=True, lr=1e-3, min_lr=0.0, steps=1500, eval_every=250,
    ),
    "answering": TrainConfig(
        objective="answering", corpus="generated", tokenizer="word", batch_size=32, context=112,
        dropout=0.0, bias=True, lr=1e-3, min_lr=0.0, steps=3000, eval_every=500,
    ),
    "prompted": TrainConfig(
        objective="prompted-answering", corpus="generated", tokenizer="word", batch_size=32,
        context=128, positions="alibi", bias=True, lr=1e-3, min_lr=0.0, steps=1500, eval_every=250,
    ),
}  # fmt: skip


# Where an objective starts from if no preset is named.
PRESET_OF = {
    "causal": "tiny",
    **dict.fromkeys(("masked", "next-sentence", "bert"), "bert-tiny"),
    **dict.fromkeys(("spans", "deletion"), "denoising"),
    **dict.fromkeys(("copy", "reverse", "sort"), "toy"),
    **{n: n for n in "translation summarisation classification labelling answering".split()},
    **{
        f"prompted-{n}": "prompted"
        for n in "answering classification translation summarisation".split()
    },
}


def preset(name: str) -> TrainConfig:
    """A named configuration. Raises ``ValueError`` for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is none of {', '.join(PRESETS)}")
    return PRESETS[name]


def warmup_of(given: dict, start: TrainConfig) -> dict:
    """``warmup`` for given steps that are fewer than the preset's: the preset's share of them.

    Raises ``ValueError`` for a given warm-up that is not shorter than the run: its learning rate
    would never be reached.
    """
    steps = given.get("steps", start.steps)
    if "warmup" in given:
        if steps <= given["warmup"] and given["warmup"] > 0:
            raise ValueError(f"warmup is {given['warmup']} of {steps} steps: lr is never reached")
        return {}
    return {"warmup": start.warmup * steps // start.steps} if steps < start.steps else {}


def last_rate(given: dict, start: TrainConfig) -> dict:
    """``min_lr`` for given settings that change the highest learning rate: the preset's share."""
    if "lr" not in given or "min_lr" in given or start.schedule != "cosine":
        return {}
    return {"min_lr": given["lr"] * start.min_lr / start.lr}
