"""Large language models in pure NumPy: every formula, forward and backward, proven and explained.

lm = numpylm.load("runs/tiny")              # a trained model
lm.generate("The function", tokens=200)
numpylm.check_gradients(forward, backward, p, x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpylm.gradcheck import check_gradients
    from numpylm.pipelines.language_model import LanguageModel, load

__version__ = "0.1.0"
__all__ = ["LanguageModel", "check_gradients", "load"]

_HOMES = {
    "LanguageModel": "numpylm.pipelines.language_model",
    "check_gradients": "numpylm.gradcheck",
    "load": "numpylm.pipelines.language_model",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import numpylm`` costs next to nothing."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'numpylm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
