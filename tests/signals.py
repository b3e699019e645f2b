"""What a test needs to be sure that Ctrl-C arrives."""

import os
import signal

import pytest

# A shell starts background jobs (nohup ... &) with SIGINT ignored, and children inherit that.
needs_ctrl_c = pytest.mark.skipif(
    os.name != "posix" or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None),
    reason="SIGINT is ignored in this process, as in a background job of a shell, or not there",
)
