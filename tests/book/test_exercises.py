"""The checks of the exercises answer at once, and never stop the notebook."""

from __future__ import annotations

import pytest

from numpylm.book.exercises import check


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not answered yet"),
        (4, "right"),
        (5, "not yet. Hint: two and two"),
        ("4", "not yet: TypeError"),
    ],
)
def test_check_says(answer: object, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(answer, lambda a: a + 0 == 4, "two and two")
    assert capsys.readouterr().out.startswith(said)
