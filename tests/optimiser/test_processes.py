"""An optimised model in other processes: forked ones, and two that train together."""

import multiprocessing

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lamina


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)
    )


X = torch.linspace(-1, 1, 4 * 3 * 8 * 8).view(4, 3, 8, 8)


def train_together(rank, rendezvous, results):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    gradients = []
    for model in (network(), lamina.optimize(network())):
        together = DistributedDataParallel(model)
        together(X[2 * rank : 2 * rank + 2]).square().sum().backward()
        gradients.append([parameter.grad.tolist() for parameter in model.parameters()])
    results.put((rank, gradients))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_agree_on_the_plain_models_gradients(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=train_together, args=(rank, tmp_path / "rendezvous", results))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join(60)
    for plain, ours in zip(*found[0], strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(plain), rtol=1e-4, atol=1e-4)
    assert found[0][1] == found[1][1]  # both hold the same


def call_in_a_child(model, results):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    with torch.no_grad():
        results.put(model(X).tolist())


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore")
def test_a_forked_process_calls_what_was_compiled(one_thread):
    model = lamina.optimize(network().eval())
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with torch.no_grad():
        expected = model(X)
        child = context.Process(target=call_in_a_child, args=(model, results))
        child.start()
        got = torch.tensor(results.get(timeout=300))
        child.join(60)
    torch.testing.assert_close(got, expected)
