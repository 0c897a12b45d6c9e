"""Lightning's trainer as a run wants it: one machine or several ranks, checkpoints of our own."""

from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy

from lamina.errors import InputError
from lamina.settings import TrainConfig
from lamina.train.checkpoints import CheckpointFolder
from lamina.train.quiet import event_logger
from lamina.train.ranks import TIMEOUT, ranks, ranks_here


def make_trainer(
    config: TrainConfig, accelerator: str, out: Path, callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Return a trainer that shows and writes nothing but what the callbacks do, and events."""
    together = DDPStrategy(process_group_backend=backend_of(accelerator), timeout=TIMEOUT)
    return pl.Trainer(
        max_epochs=config.epochs,
        gradient_clip_val=config.clip,
        accumulate_grad_batches=config.accumulate,
        accelerator=accelerator,
        devices=ranks_here(),
        num_nodes=max(1, ranks() // ranks_here()),
        strategy=together if ranks() > 1 else "auto",
        logger=event_logger(out),
        callbacks=callbacks,
        plugins=[CheckpointFolder()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def accelerator_of(device: str) -> str:
    """Return Lightning's word for a `TrainConfig.device`.

    Raises:
        InputError: ``"cuda"`` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: expected cpu or auto, got 'cuda', and there is no CUDA device")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def backend_of(accelerator: str) -> str:
    """Return what ranks talk by."""
    return "nccl" if accelerator == "cuda" else "gloo"
