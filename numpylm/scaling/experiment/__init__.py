"""A scaling experiment on a laptop: its plan, its runs, and what the runs beside the grid say.

``MEASURED`` is the folder of a sweep of our own: ``plan.json`` and ``runs.csv``.
"""

from pathlib import Path

MEASURED = Path(__file__).parent / "measured"
