"""What is installed: a short list for readers, and nothing is imported that is declared nowhere."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [
    line
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.lstrip().startswith("#")
]
CARD = ["numpy", "matplotlib", "jupyter", "pytest", "hypothesis"]
# Imported under another name than that of the distribution, or brought by a declared one.
PROVIDED_BY = {
    "nbformat": "jupyter", "nbclient": "jupyter", "jupyter_client": "jupyter",
    "docutils": "sphinx", "IPython": "jupyter", "ipywidgets": "jupyter", "absl": "rouge-score",
}  # fmt: skip


def distribution(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower()


def test_the_card_comes_first_and_each_line_says_why():
    assert [distribution(line) for line in LINES[:5]] == CARD
    for line in LINES:
        assert re.search(r"  # \w.{5}", line), line


def test_readers_install_no_developers_tools():
    names = {distribution(line) for line in LINES if not line.startswith("-e")}
    extras = PROJECT["optional-dependencies"]
    assert names <= {distribution(r) for r in extras["learn"] + extras["test"]} | set(CARD)
    developers = {distribution(r) for r in extras["scores"] + extras["cluster"] + extras["develop"]}
    assert not names & developers - {"numpylm"}


def test_what_the_library_imports_is_declared():
    declared = [r for rs in PROJECT["optional-dependencies"].values() for r in rs]
    declared += PROJECT["dependencies"]
    known = {distribution(r) for r in declared} | {"numpylm"}
    for path in sorted((ROOT / "numpylm").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (n.split(".")[0] for n in names):
                if name not in sys.stdlib_module_names:
                    home = PROVIDED_BY.get(name, name.replace("_", "-"))
                    assert home in known, f"{path.name} imports {name}, which nothing declares"
