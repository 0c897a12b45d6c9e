"""What a run ran on: versions, machine, threads."""

import platform

import torch

from lamina._version import __version__
from lamina.extras import version
from lamina.ops.tuning.machine import processor


def describe() -> dict[str, str]:
    """Return facts for a report: name and value, in the order in which they are shown."""
    return {
        "lamina": __version__,
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "numpy": version("numpy"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
    }
