"""The training steps that are compared with PyTorch, and the same steps there.

    a     the model and batch of nanogpt-cpu: 4 layers, 4 heads, d_model 128, T 64, batch 12, V 65
    b     the same with T 256, batch 8, V 512
    c     6 layers, 6 heads, d_model 384, T 128, batch 8, V 1000
    d     PyTorch's WikiText-2 recipe: 2 layers, 2 heads, d_model 200, T 35, batch 20, V 33,278
    long  case a's model with one sequence of T 8192

Without dropout; float32; forward, backward, clipping, and AdamW (d: SGD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from numpylm.cost.step_time import RandomTokens
from numpylm.models.gpt import gpt_init
from numpylm.training.presets import preset
from numpylm.training.train_config import TrainConfig

NANO = preset("nanogpt-cpu")
CASES: dict[str, tuple[TrainConfig, int]] = {
    "a": (NANO, 65),
    "b": (replace(NANO, context=256, batch_size=8), 512),
    "c": (
        replace(NANO, n_layers=6, n_heads=6, d_model=384, d_ff=1536, context=128, batch_size=8),
        1000,
    ),
    "d": (replace(preset("pytorch-wikitext2"), dropout=0.0), 33278),
    "long": (replace(NANO, context=8192, batch_size=1), 65),
}


def torch_step(
    config: TrainConfig, vocab_size: int, threads: int, compiled: bool = False
) -> Callable[[], float]:
    """The same step in PyTorch, from the same parameters and batch.

    Eager, with fused attention and its multi-tensor optimisers; or compiled.
    """
    import torch

    from tests.torch_reference import torch_adamw, torch_loss, torch_parameters

    torch.set_num_threads(threads)
    c, model = config, config.model_config(vocab_size)
    t = torch_parameters(gpt_init(c.seed, model)[1])
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(t.values(), c.lr)
        if c.optimizer == "sgd"
        else torch_adamw(t, c.lr, (c.beta1, c.beta2), c.weight_decay)
    )
    ids, targets = map(torch.tensor, RandomTokens(c, vocab_size).batch(0).values())
    loss_of = torch.compile(torch_loss) if compiled else torch_loss

    def run() -> float:
        loss = loss_of(t, ids, targets, model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(t.values(), c.clip)
        optimizer.step()
        return loss.item()

    return run
