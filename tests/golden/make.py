"""What PyTorch computes, kept in files, so that the comparison also runs where it is not installed.

    python -m tests.golden.make        writes tests/golden/gpt_*.npz

Each file holds a tiny model, a batch, the logits, the loss and its gradient, and ten steps of
AdamW, all by PyTorch in float64. Parameters are one vector in the order of ``numpylm.parameters``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.parameters import leaves
from tests.torch_reference import torch_adamw, torch_logits, torch_loss, torch_parameters

FOLDER = Path(__file__).parent
SIZES = {"vocab_size": 13, "context": 9, "n_layers": 2, "n_heads": 2, "d_model": 8, "d_ff": 10}
CONFIGS = {
    "gpt_pre_tied": GPTConfig(**SIZES),
    "gpt_post_untied": GPTConfig(
        **SIZES, norm="post", activation="relu", positions="sinusoidal", tied=False
    ),
}
LEARNING_RATE, BETAS, WEIGHT_DECAY, STEPS = 1e-3, (0.9, 0.95), 0.1, 10


def golden(config: GPTConfig) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    rng = np.random.default_rng(0)
    theta, p = jittered(gpt_init(0, config)[1], rng, size=0.3)
    ids, targets = rng.integers(0, 10, (2, 4, 7))  # words 10 to 12 are absent
    targets[1, 5:] = -1
    t = torch_parameters(p)
    batch = torch.tensor(ids), torch.tensor(targets)
    logits = torch_logits(t, batch[0], config).detach().numpy()

    optimizer = torch_adamw(t, LEARNING_RATE, BETAS, WEIGHT_DECAY)
    losses, gradients = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch_loss(t, *batch, config)
        loss.backward()
        losses.append(loss.item())
        gradients.append(_vector({name: a.grad for name, a in t.items()}, p))
        optimizer.step()
    return {
        "config": np.array(json.dumps(asdict(config))),
        "theta": theta,
        "ids": ids,
        "targets": targets,
        "logits": logits,
        "losses": np.array(losses),
        "gradient": gradients[0],
        "learning_rate": np.array(LEARNING_RATE),
        "betas": np.array(BETAS),
        "weight_decay": np.array(WEIGHT_DECAY),
        "theta_after": _vector(t, p),
    }


def _vector(tensors: dict[str, torch.Tensor], p) -> np.ndarray:
    return np.concatenate([tensors[name].detach().numpy().ravel() for name, _ in leaves(p)])


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        np.savez(FOLDER / f"{name}.npz", **golden(config))
