"""A published config.json, whose entries are asked for by name and kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LONGEST_CONFIG = 10_000_000  # bytes


class Settings:
    """The entries of a config.json, each of a kind that is asked for."""

    def __init__(self, entries: dict[str, Any], path: object) -> None:
        self.entries, self.path = entries, path

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """Raises ``ValueError`` if an entry is missing and has no default, or is of another kind.

        ``null`` counts as missing.
        """
        value = self.entries.get(name)
        if value is None:
            value = default
        if value is None:
            raise ValueError(f"{self.path} has no {name}")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if kind is float and whole:
            value = float(value)
        if not isinstance(value, kind) or (kind is int and not whole):
            raise ValueError(f"{self.path}: {name} is {value!r:.80}, not of type {kind.__name__}")
        return value

    def require(self, name: str, *known: Any) -> None:
        """Raise ``ValueError`` unless an entry is one of the values that we compute, or missing."""
        value = self.entries.get(name)
        if value is not None and value not in known:
            wanted = " or ".join(map(repr, known))
            raise ValueError(
                f"{self.path}: {name} is {value!r:.80}; only {wanted} is computed here"
            )

    def part(self, *names: str) -> Settings | None:
        """The first of these entries that is there, itself an object."""
        for name in names:
            if self.entries.get(name) is not None:
                entries = self.get(name, dict)
                return Settings(entries, f"{self.path}: {name}")
        return None


def read_settings(path: Path) -> Settings:
    """A config.json. Raises ``ValueError`` if it holds no JSON object."""
    try:
        if path.stat().st_size > LONGEST_CONFIG:
            raise ValueError(f"{path} has {path.stat().st_size} bytes: no configuration is so long")
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        entries = None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"{path} holds no JSON object")
    return Settings(entries, path)
