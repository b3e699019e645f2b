"""The map of sections, the order of imports and the shape of modules hold for the code as it is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from numpylm.gradcheck.sections import MAP, section_of
from tests.import_order import rank
from tests.written import WRITTEN

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "numpylm"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if re.match(r"\| (\d\.\d|A) \|", line)
]
# What belongs to no section: the command line, figures, processes, files, the book's own tools.
INFRASTRUCTURE = ("__main__", "files", "parallel", "plots", "book", "cli")
REFERENCE = (
    "layers", "models", "objectives", "optim", "gradcheck", "scaling.laws", "scaling.fit",
)  # fmt: skip


def modules(folder="."):
    return sorted(p for p in (PACKAGE / folder).rglob("*.py") if p.name != "__init__.py")


def dotted(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def test_every_section_of_the_textbook_has_a_row():
    sections = (
        "1.1 1.2 2.1 2.2 2.3 3.1 3.2 3.3 3.4 4.1 4.2 4.3 5.1 5.2 5.3 5.4 6.1 6.2 6.3 6.4 6.5 6.6 A"
    )
    assert [row[0] for row in ROWS] == sections.split() == list(MAP)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_from_elsewhere_is_current(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == WRITTEN[name](), "python -m tests.written"


def test_what_the_map_names_exists_and_is_named_once():
    places = [place for row in MAP.values() for place in row]
    assert len(places) == len(set(places))
    for place in places:
        assert (PACKAGE / place).exists(), place
        assert (PACKAGE / place).is_dir() == place.endswith("/")


def test_what_readme_names_exists():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        if not path.startswith("http"):
            assert (ROOT / path).exists(), path
    assert re.findall(r"`(numpylm/[\w/]+\.py|tests/[\w/]+\.py)`", README)
    for path in re.findall(r"`((?:numpylm|tests|chapters|notebooks)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_the_one_module_of_a_section_opens_with_it_and_no_other_does(path):
    own = {row[0]: section for section, row in MAP.items()}
    section = own.get(path.relative_to(PACKAGE).as_posix())
    opens = re.match(r"§(\S+) ", docstring(path))
    assert (opens[1] if opens else None) == section
    if dotted(path).startswith(INFRASTRUCTURE):
        assert section_of(f"numpylm.{dotted(path)}") == ""
    else:
        assert section_of(f"numpylm.{dotted(path)}"), "name it in the map, or its folder"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_go_down_only(path):
    """Anywhere in a module, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("numpylm."):
            package = node.module.split(".")[1:]
            for alias in node.names:
                imported = ".".join([*package, alias.name])
                if imported != "__version__":
                    assert rank(imported) <= rank(dotted(path)), f"{path} imports {imported}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_a_module_that_a_text_names_exists(path):
    """Beside it, or from the package's folder on, or among the tests."""
    for name in re.findall(r"`([a-z_/]+\.py)`", path.read_text(encoding="utf-8")):
        places = (path.parent / name, PACKAGE / name, PACKAGE.parent / name)
        places += (path.parents[1] / name,)
        assert any(place.is_file() for place in places), f"{path} names {name}"


def test_four_files_stand_at_the_front_door():
    names = {p.name for p in PACKAGE.glob("*.py")}
    assert names == {"__init__.py", "__main__.py", "files.py", "parameters.py"}


@pytest.mark.parametrize("package", REFERENCE)
def test_the_reference_needs_numpy_alone(package):
    """As in a browser: importing it takes nothing that was installed, but NumPy."""
    script = f"""
import importlib, pkgutil, sys
allowed = {{*sys.stdlib_module_names, "numpy", "numpylm", "cython_runtime"}}  # NumPy's own
found = importlib.import_module("numpylm.{package}")
for info in pkgutil.walk_packages(found.__path__, found.__name__ + "."):
    importlib.import_module(info.name)
named = {{name.split(".")[0] for name, module in sys.modules.items() if module is not None}}
foreign = sorted(name for name in named - allowed if not name.startswith("_"))
assert not foreign, foreign
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_modules_stay_small():
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 280, f"{path.name} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            plain_record = isinstance(node, ast.ClassDef) and all(
                isinstance(item, ast.AnnAssign) for item in node.body
            )  # a dataclass whose fields carry their shapes as comments
            assert ast.get_docstring(node) or plain_record, f"{path.name}: {node.name}"
