"""Plant a bug in the library while a block runs, and know that it was really called.

A function that was moved or renamed leaves a bug where nobody calls it, and whatever a test says of
it then means nothing. So the calls are counted, and a chapter asserts that there were some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, Self
from unittest.mock import patch


class planted:
    """``with planted("numpylm.models.gpt.decoder_backward", wrong) as bug: …; assert bug.calls``

    Instead of one function there may be several, by name: ``planted("numpylm.layers.residual",
    {"dropout_forward": f, "dropout_backward": g})``, in a module or in a table of functions such as
    ``ACTIVATIONS``, whose entries are records: what differs there is counted. What is planted again
    goes on counting.
    Raises ``AttributeError``, ``KeyError`` or ``ImportError`` if nothing stands at the place.
    """

    def __init__(self, place: str, wrong: Callable[..., Any] | Mapping[str, Any]) -> None:
        if callable(wrong):
            place, _, name = place.rpartition(".")
            wrong = {name: wrong}
        self.counts: list[int] = []
        target = _found(place)
        space = target if isinstance(target, dict) else vars(target)
        for name in wrong:
            if name not in space:
                raise AttributeError(f"nothing called {name} stands in {place}")
        planted = {name: self._counted(f, space[name]) for name, f in wrong.items()}
        self.patch = patch.dict(space, planted)

    @property
    def calls(self) -> int:
        """How often all of it was called: of several functions, the fewest calls of one."""
        return min(self.counts, default=0)

    def _counted(self, wrong: Any, right: Any) -> Any:
        if isinstance(wrong, tuple) and hasattr(wrong, "_make"):  # a record: what differs
            pairs = zip(wrong, right, strict=True)
            return wrong._make([w if w is r else self._counted(w, r) for w, r in pairs])
        if isinstance(wrong, tuple):
            return tuple(self._counted(w, r) for w, r in zip(wrong, right, strict=True))
        number = len(self.counts)
        self.counts.append(0)

        @wraps(wrong)
        def counted(*arguments: Any, **settings: Any) -> Any:
            self.counts[number] += 1
            return wrong(*arguments, **settings)

        return counted

    def __enter__(self) -> Self:
        self.patch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.patch.stop()


def _found(place: str) -> Any:
    """A module, or what stands in one."""
    try:
        return import_module(place)
    except ModuleNotFoundError:
        module, _, name = place.rpartition(".")
        return getattr(import_module(module), name)
