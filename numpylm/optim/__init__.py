"""Optimisers as published, clipping, and the course of the learning rate: on flat vectors."""

from numpylm.optim.adam import adam_update, decay_of_matrices, decay_weights
from numpylm.optim.clipping import clip_factor, global_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.optim.schedule import learning_rate
from numpylm.optim.sgd import sgd_update

__all__ = [
    "Optimizer", "adam_update", "clip_factor", "decay_of_matrices", "decay_weights",
    "global_norm", "learning_rate", "sgd_update",
]  # fmt: skip
