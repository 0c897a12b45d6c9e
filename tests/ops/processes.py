"""A program in a process of its own: what is set once per process, or may end it."""

import os
import subprocess
import sys


def in_a_process(source: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python source, with these variables in its environment; ends after two minutes."""
    return subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
