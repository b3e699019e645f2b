"""The README's map of sections, and the order of imports, hold for the code as it is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if re.match(r"\| (\d\.\d|A) \|", line)
]
# Neither a layer of the textbook nor a step of it: how figures look, how answers are checked,
# how the book is built.
TOOLS = {"plotting.py", "exercises.py", "__main__.py"}
TOOLS |= {f"book/{name}.py" for name in ("notebooks", "opening", "site", "commands")}
# Top of the list imports nothing of the package; everything may import what stands above it.
ORDER = (
    "files", "parameters", "processes", "differences", "diagnosis", "gradcheck", "layers", "models",
    "objectives", "audit", "examples", "catalogue", "data", "baselines", "tasks", "generation",
    "plotting", "exercises", "book", "scaling.counting", "training", "scaling", "mutation",
    "mistakes", "bugs", "weak_checks", "mutants", "language_model", "predictor", "benchmark",
    "memory", "cost", "probes", "reports", "starting", "commands", "cli", "__main__",
)  # fmt: skip


def modules():
    folder = ROOT / "numpylm"
    return sorted(p for p in folder.rglob("*.py") if p.name != "__init__.py")


def named(name, modules):
    """Whether a row of the map names the module, or the whole of its folder: `tasks/`."""
    folders = re.findall(r"`(\w+/)`", modules)
    return f"`{name}`" in modules or any(name.startswith(folder) for folder in folders)


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def test_every_section_of_the_textbook_has_a_row():
    sections = "1.1 1.2 2.1 2.2 2.3 3.1 3.2 3.3 4.1 4.2 4.3 5.1 5.2 5.3 5.4 6.1 6.2 6.3 6.4 6.5 A"
    assert [row[0] for row in ROWS] == sections.split()


def test_what_the_map_names_exists():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        if not path.startswith("http"):
            assert (ROOT / path).exists(), path
    assert re.findall(r"`(numpylm/[\w/]+\.py|tests/[\w/]+\.py)`", README)
    for row in ROWS:
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", row[2]):
            assert (ROOT / "numpylm" / path).exists(), path
    for path in re.findall(r"`((?:numpylm|tests|chapters|notebooks)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.name)
def test_every_module_opens_with_the_section_that_the_map_gives_it(path):
    name = path.relative_to(ROOT / "numpylm").as_posix()
    if name in TOOLS:
        return
    in_map = {row[0] for row in ROWS if named(name, row[2])}
    first_line = docstring(path).split("\n")[0]
    stated = set(re.findall(r"§(\d\.\d|A)", first_line))
    assert in_map == stated, f"{name}: map {in_map}, docstring {first_line!r}"
    assert first_line.startswith("§")


def rank(module):
    """Where a module stands in the order: the longest entry that it begins with."""
    found = [i for i, name in enumerate(ORDER) if f"{module}.".startswith(f"{name}.")]
    assert found, f"{module} has no place in the order of imports"
    return max(found, key=lambda i: len(ORDER[i]))


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.name)
def test_imports_go_down_only(path):
    """At the top of a module; what a function imports when it is called is its own affair."""
    name = ".".join(path.relative_to(ROOT / "numpylm").with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("numpylm."):
            package = node.module.split(".")[1:]
            for alias in node.names:
                imported = ".".join(package or [alias.name])
                if imported != "__version__":
                    assert rank(imported) <= rank(name), f"{name} imports {imported}"


def test_modules_stay_small():
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 280, f"{path.name} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.name)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            plain_record = isinstance(node, ast.ClassDef) and all(
                isinstance(item, ast.AnnAssign) for item in node.body
            )  # a dataclass whose fields carry their shapes as comments
            assert ast.get_docstring(node) or plain_record, f"{path.name}: {node.name}"
