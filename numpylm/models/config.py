"""§2.2 What every stack of Transformer layers has to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STACK_CHOICES = {"norm": ("pre", "post"), "activation": ("gelu", "relu")}


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """The shape of a stack of layers. Raises ``ValueError`` for what cannot work."""

    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 128
    d_ff: int = 512
    dropout: float = 0.0
    norm: str = "pre"
    activation: str = "gelu"
    bias: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "n_layers", "n_heads", "d_model", "d_ff")
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        require_choice(self, STACK_CHOICES)


def require_positive(config: object, *names: str) -> None:
    """Raise ``ValueError`` unless each named field is a whole number of at least 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def require_choice(config: object, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ``ValueError`` unless each field is one of its known values."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(
                f"{name} is {getattr(config, name)!r}; it must be one of {', '.join(known)}"
            )
