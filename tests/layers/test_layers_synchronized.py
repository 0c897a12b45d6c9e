"""BatchNormalization(synchronized=True) in two processes: the statistics of the whole batch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lamina import layers

RANKS = 2
CONFIG = {"synchronized": True, "momentum": 0.5}


def whole_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 3, 2, generator=generator) * 2 + 1000
    return x, torch.randn(x.shape, generator=generator)


def step(x: torch.Tensor, upstream: torch.Tensor, mask: torch.Tensor | None) -> list[np.ndarray]:
    layer = layers.BatchNormalization(**CONFIG)
    x = x.clone().requires_grad_()
    y = layer(x, training=True, mask=mask)
    y.backward(upstream)
    return [y.detach().numpy(), x.grad.numpy(), *layer.get_weights()]


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS
    )
    x, upstream = whole_batch()
    # Uneven on purpose: the mean of the ranks' means is not the mean.
    rows = slice(0, 4) if rank == 0 else slice(4, 6)
    plain = step(x[rows], upstream[rows], None)
    masked = step(x[rows], upstream[rows], x[rows][..., 0] > 1000)
    np.savez(Path(folder) / f"{rank}.npz", *plain, *masked)
    dist.destroy_process_group()


def test_two_ranks_normalize_as_one_whole_batch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank_main, (folder,), nprocs=RANKS)
        ranks = [list(np.load(Path(folder) / f"{rank}.npz").values()) for rank in range(RANKS)]
    x, upstream = whole_batch()
    whole = step(x, upstream, None) + step(x, upstream, x[..., 0] > 1000)
    assert len(ranks[0]) == len(whole) == 12
    for index, expected in enumerate(whole):
        if expected.ndim == 4:
            got = np.concatenate([rank[index] for rank in ranks])
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
        else:
            for rank in ranks:
                np.testing.assert_allclose(rank[index], expected, rtol=1e-4, atol=1e-4)
