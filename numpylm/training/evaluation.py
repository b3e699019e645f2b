"""§5.4 Evaluation: the mean loss over *all* non-overlapping windows of a text.

Nothing is sampled, so the figure is exact and repeats. Perplexity = exp(loss); bits = loss / ln 2.
"""

from __future__ import annotations

import numpy as np

from numpylm.data.batches import evaluation_windows
from numpylm.parameters import Array
from numpylm.training.parallel import DataParallel

ROWS = 16  # windows at a time: enough to keep BLAS busy, few enough to stay in the cache


def evaluate(parallel: DataParallel, stream: Array, context: int) -> float:
    """Mean −log P in nats per token over every full window of ``context`` tokens.

    Raises ``ValueError`` if the stream is shorter than one window.
    """
    ids, targets = evaluation_windows(stream, context)
    starts = range(0, len(ids), ROWS)
    losses = parallel.losses([(ids[i : i + ROWS], targets[i : i + ROWS]) for i in starts])
    sizes = [len(ids[i : i + ROWS]) for i in starts]
    return float(np.average(losses, weights=sizes))
