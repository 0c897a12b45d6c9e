"""A model in the hands of PyTorch's tools: it works, or says to restore it first."""

import pytest
import torch
from torch.ao import quantization
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module, distribute_tensor

import lamina
import lamina.nn

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao's, that it is deprecated


def network(nn=torch.nn):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


def ours():
    return network(lamina.nn)


X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


@pytest.mark.parametrize("kinds", [{torch.nn.Linear}, None])
def test_quantising_says_to_restore_first(kinds):
    model = ours()
    with pytest.raises(TypeError, match=r"call lamina\.restore\(model\) first"):
        quantization.quantize_dynamic(model, kinds, dtype=torch.qint8)
    torch.testing.assert_close(model(X), network()(X))
    lamina.restore(model)
    quantised = quantization.quantize_dynamic(model, kinds, dtype=torch.qint8)
    assert type(quantised[5]).__module__.startswith("torch.ao.")


def test_preparing_says_to_restore_first():
    model = ours()
    model.qconfig = quantization.get_default_qconfig("fbgemm")  # on the container, as one does
    with pytest.raises(TypeError, match=r"call lamina\.restore\(model\) first"):
        quantization.prepare(model)


def test_fusing_names_the_layers_that_it_does_not_know():
    """PyTorch's own message: it asks the layers nothing before."""
    model, names = ours(), ["0", "1", "2"]
    with pytest.raises(Exception, match=r"lamina\.nn\.conv2d\.Conv2d"):
        quantization.fuse_modules(model, [names])
    lamina.restore(model)
    fused = quantization.fuse_modules(model, [names])
    torch.testing.assert_close(fused(X), network()(X))


def test_an_optimised_model_is_quantised_as_a_plain_one():
    model = lamina.optimize(network())
    model(X)
    quantised = quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert type(quantised[5]).__module__.startswith("torch.ao.")


@pytest.fixture
def mesh(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_distributed_parameters_compute_and_train(mesh):
    model = ours()
    distribute_module(model, mesh)
    for _ in range(2):
        y = model(distribute_tensor(X, mesh, [Replicate()]))
        torch.testing.assert_close(y.full_tensor(), network()(X))
    y.sum().backward()
    assert all(isinstance(parameter.grad, DTensor) for parameter in model.parameters())
