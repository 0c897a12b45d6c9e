"""lamina's own layers: complete counts that agree with what each layer predicts of itself."""

import pytest
import torch

from lamina import nn
from lamina.inspector import inspect
from lamina.ops.tuning import choice

SHAPE = (2, 8, 12, 12)
LAYERS = {
    "conv": nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2),
    "conv direct": nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2, algorithm="direct"),
    "conv winograd": nn.Conv2d(8, 12, 3, padding=1, algorithm="winograd"),
    "depthwise": nn.DepthwiseConv2d(8, 3, padding=1),
    "pointwise": nn.PointwiseConv2d(8, 16),
    "separable": nn.SeparableConv2d(8, 16, 3, padding=1),
    "norm": nn.BatchNorm2d(8),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "average pool": nn.AvgPool2d(2),
    "global pool": nn.AdaptiveAvgPool2d(1),
    "relu": nn.ReLU(),
    "hardswish": nn.Hardswish(),
    "dense": nn.Linear(12, 5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_count_is_the_layers_own_prediction(name):
    layer = LAYERS[name].eval()
    account = inspect(layer, SHAPE)
    predicted = layer.cost(SHAPE)
    totals = account.totals
    assert totals.coverage == "complete"
    assert totals.macs == predicted.macs
    assert totals.forward.other_flops == predicted.other_flops
    assert totals.parameters == predicted.parameters
    assert account.rows[0].output_shapes == [tuple(layer.output_shape(SHAPE))]


@pytest.mark.parametrize("training", [False, True])
def test_a_network_of_ours_is_counted_wholly_and_saves_what_autograd_saves(training):
    model = torch.nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.DepthwiseConv2d(16, 3),
        nn.MaxPool2d(2), nn.SqueezeExcite(16, 4), nn.Dropout(0.3), nn.SeparableConv2d(16, 24, 3),
        nn.AvgPool2d(2, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    ).train(training)  # fmt: skip
    account = inspect(model, SHAPE, training=training)
    assert account.totals.coverage == "complete", account.totals.uncounted
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.randn(SHAPE))
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    saved = sum(storage.nbytes() for key, storage in kept.items() if key not in own)
    assert output.shape == (2, 4)
    assert account.totals.saved_bytes == saved


@pytest.mark.parametrize("training", [False, True])
def test_an_algorithm_of_ours_counts_as_pytorchs_own(training):
    """The same convolution's MACs, forward and back, and the same view of the image."""
    accounts = []
    for algorithm in ("direct", "onednn"):
        model = torch.nn.Sequential(
            nn.Conv2d(8, 12, 3, stride=2, padding=((0, 1), (1, 0)), algorithm=algorithm),
            nn.Conv2d(12, 6, 3, dilation=2, groups=3, bias=False, algorithm=algorithm),
        )
        accounts.append(inspect(model.train(training), SHAPE, training=training))
    ours, theirs = accounts
    assert ours.totals.coverage == "complete", ours.totals.uncounted
    assert ours.totals.macs == theirs.totals.macs
    assert ours.totals.forward.other_flops == theirs.totals.forward.other_flops
    for mine, other in zip(ours.rows, theirs.rows, strict=True):
        assert mine.receptive_field == other.receptive_field


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(9, 12), (2, 3, 12)])
def test_a_dense_layer_in_our_kernel_counts_as_pytorchs_product(monkeypatch, shape, training):
    accounts = []
    for ours in (True, False):
        monkeypatch.setattr(choice, "leaves_dense_to_pytorch", lambda *_, o=ours: not o)
        model = torch.nn.Sequential(nn.Linear(12, 7), nn.Linear(7, 5, bias=False))
        accounts.append(inspect(model.train(training), shape, training=training))
    ours, theirs = (account.totals for account in accounts)
    assert ours.coverage == theirs.coverage == "complete"
    assert ours.macs == theirs.macs
    assert ours.backward.macs == theirs.backward.macs > 0
    assert ours.forward.other_flops == theirs.forward.other_flops
    for mine, other in zip(*(account.rows for account in accounts), strict=True):
        assert mine.kind == other.kind
        assert mine.receptive_field == other.receptive_field
