"""Lightning and TensorBoard without the remarks that are not for the person who trains."""

import logging
import sys
import warnings
from pathlib import Path
from types import ModuleType

from lightning.pytorch.loggers import TensorBoardLogger


def quiet_lightning() -> None:
    """Leave out Lightning's hardware list, tips and advice; errors and other warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",  # images are in memory: a worker would only copy them
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*treespec, LeafSpec.*",
        ".*Grad strides do not match bucket view.*",  # channels-last weights between ranks: right
    ):
        warnings.filterwarnings("ignore", message=message)


def event_logger(run: Path) -> TensorBoardLogger:
    """Return a logger that writes TensorBoard events to ``run/tensorboard``."""
    if "tensorflow" not in sys.modules:
        # TensorBoard imports TensorFlow where it is installed, which takes seconds and brings a
        # second OpenMP runtime; it looks for this module to learn that it should not.
        name = "tensorboard.compat.notf"
        sys.modules.setdefault(name, ModuleType(name))
    return TensorBoardLogger(str(run), name="", version="tensorboard")
