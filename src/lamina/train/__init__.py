"""Training: images in, a run folder with checkpoints, metrics and a report out."""

from lamina.train.config import TrainConfig
from lamina.train.health import HealthMonitor
from lamina.train.predict import Prediction, load_run, predict
from lamina.train.run import RunResult, resume, train

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
