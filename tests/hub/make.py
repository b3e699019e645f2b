"""Make the oracles: python -m tests.hub.make (needs torch and transformers; the tests do not).

Our writer makes a folder of each family, transformers loads it from there and is asked for the
logits, the loss and, for each array, the projection of the loss's gradient on a drawn direction.
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from numpylm.hub.hugging_face import save_folder
from tests.hub.families import IDS, MODELS, direction, model

HERE = Path(__file__).parent / "oracles"


def answers(folder: Path) -> dict:
    """Of transformers, for a folder."""
    import torch
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor(IDS)
    logits = theirs(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    projections = {
        name: float((p.grad.double().numpy() * direction(name, tuple(p.shape))).sum())
        for name, p in theirs.named_parameters()
    }
    norms = {name: float(p.grad.norm()) for name, p in theirs.named_parameters()}
    return {
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "logits": np.round(logits.detach().numpy()[:, -2:], 7).tolist(),
        "loss": float(loss),
        "projections": projections,
        "norms": norms,
    }


if __name__ == "__main__":
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            save_folder(Path(folder), *model(name))
            text = json.dumps(answers(Path(folder)))
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(name, len(text), "bytes")
