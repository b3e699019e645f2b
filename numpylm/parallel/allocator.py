"""Freed memory that malloc keeps: a training step asks for the same arrays again and again."""

from __future__ import annotations

import sys

from numpylm.parallel.libc import libc


def keep_freed_pages() -> bool:
    """Ask glibc's malloc to keep freed memory instead of returning it to the system.

    A training step allocates the same activations again and again; returning the pages costs a
    page fault for each 4 KiB of them (about a third of a step). No effect and False elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = libc().mallopt
    except (OSError, AttributeError):
        return False
    m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8
    settings = [(m_mmap_max, 0), (m_trim_threshold, -1), (m_top_pad, 64 << 20), (m_arena_max, 1)]
    return all([mallopt(option, value) == 1 for option, value in settings])
