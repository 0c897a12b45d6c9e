"""Training: images in, a run folder with checkpoints, metrics and a report out."""

from lamina.extras import require

require("train", "lamina.train")

from lamina.settings import TrainConfig  # noqa: E402 (the packages are here)
from lamina.train.health import HealthMonitor  # noqa: E402
from lamina.train.predict import Prediction, load_run, predict  # noqa: E402
from lamina.train.run import RunResult, resume, train  # noqa: E402

__all__ = [
    "HealthMonitor",
    "Prediction",
    "RunResult",
    "TrainConfig",
    "load_run",
    "predict",
    "resume",
    "train",
]
