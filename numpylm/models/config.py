"""What every stack of Transformer layers has to be told."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from numpylm.layers.attention import ATTENTION
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, entry, names

STACK_CHOICES = {
    "norm": ("pre", "post"),
    "normalisation": names(NORMS),
    "activation": names(ACTIVATIONS),
    "positions": names(POSITIONS),
    "init": ("fan-in", "gpt2"),
}


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """The shape of a stack of layers. Raises ``ValueError`` for what cannot work."""

    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 128
    d_ff: int = 512
    dropout: float = 0.0
    norm: str = "pre"
    normalisation: str = "layer"
    activation: str = "gelu"
    positions: str = "learned"
    alibi_scale: float = 1.0
    bias: bool = True
    init: str = "fan-in"
    implementation: str = "plain"

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(self, "n_layers", "n_heads", "d_model", "d_ff")
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.alibi_scale <= 0.0:
            raise ValueError(f"alibi_scale is {self.alibi_scale}; it must be positive")
        require_choice(self, STACK_CHOICES)
        if self.implementation not in ATTENTION:
            raise ValueError(
                f"implementation is {self.implementation!r:.40}; it must be one of "
                f"{', '.join(ATTENTION)} (and fast, after import numpylm.fast)"
            )

    @property
    def activation_entry(self) -> str:
        """The entry of ``ACTIVATIONS``."""
        return entry(ACTIVATIONS, self.activation, self.implementation)

    @property
    def norm_settings(self) -> dict[str, Any]:
        """Of ``enter_forward`` and ``leave_forward``: which norm, and where."""
        return {"norm": self.norm, "normalisation": self.normalisation}

    @property
    def cross_attention_settings(self) -> dict[str, Any]:
        """Of ``multi_head_forward``."""
        return {"n_heads": self.n_heads, "implementation": self.implementation}

    @property
    def attention_settings(self) -> dict[str, Any]:
        """The same and the positions, whose own settings follow them."""
        own = {name: getattr(self, name) for name in POSITIONS[self.positions].settings}
        return {**self.cross_attention_settings, "positions": self.positions, **own}

    def norm_init(self) -> Any:
        """Parameters of one norm."""
        return NORMS[self.normalisation].init(self.d_model, bias=self.bias)

    @property
    def std(self) -> float | None:
        """Of the matrices' first entries: 0.02 as in GPT-2, or None for 1/√d_in."""
        return 0.02 if self.init == "gpt2" else None

    def output_scale(self, sublayers: int) -> float:
        """What the matrices that write to the residual stream are multiplied by at the start.

        1/√R, R the residual connections of the stack (``sublayers`` a layer), so that the sum of
        all of them has the scale of one (Radford et al. 2019, §2.3). At GPT-2's width of 768 the
        two choices of ``init`` are alike (0.036 and 0.02); a narrow model that starts at 0.02 has
        to grow its matrices before it can learn.
        """
        return 1.0 / math.sqrt(sublayers * self.n_layers)


def require_types(config: Any) -> None:
    """Raise ``ValueError`` unless each field with a default has its type and a sensible size:
    whole numbers below 2³², so that products of two fit 64 bits, and floats that are finite.
    """
    for f in fields(config):
        value: Any = getattr(config, f.name)
        kind: type = type(f.default)
        if kind not in (bool, int, float, str):
            continue
        wanted: Any = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
        if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
            raise ValueError(f"{f.name} is {value!r:.80}; it must be of type {kind.__name__}")
        if kind is int and not -(2**32) < value < 2**32:
            raise ValueError(f"{f.name} is {value}; it must be below 2**32")
        if kind is float and not -1e300 < value < 1e300:
            raise ValueError(f"{f.name} is {value}; it must be finite")


def require_positive(config: object, *names: str) -> None:
    """Raise ``ValueError`` unless each named field is a whole number of at least 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def require_choice(config: object, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ``ValueError`` unless each field is one of its known values."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(
                f"{name} is {getattr(config, name)!r:.80}; it must be one of {', '.join(known)}"
            )
