"""The README's commands and its Python lines, as a newcomer would run them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = [
    "--n-layers", "1", "--d-model", "16", "--d-ff", "32", "--n-heads", "2", "--context", "16",
    "--steps", "5", "--warmup", "1", "--eval-every", "5",
]  # fmt: skip


def test_the_two_commands_are_there():
    setup = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && "
    for job in (".venv/bin/python -m numpylm train", ".venv/bin/python -m pytest"):
        assert f"\n{setup}{job}\n" in README


def test_the_python_lines_run(tmp_path):
    """On a run of five steps under the name that they load."""
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    command = [sys.executable, "-m", "numpylm", "train", *SMALL]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=120)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") >= 4


def test_a_public_option_of_the_commands_in_the_readme_exists():
    for command in re.findall(r"^numpylm (\w+)", README, flags=re.MULTILINE):
        subprocess.run(
            [sys.executable, "-m", "numpylm", command, "--help"],
            check=True, stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
