"""A remembered plan is right, whatever changed since it was made."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F

import lamina
from lamina import ops
from lamina.ops.tuning import calibration, choice, plans
from lamina.theory import conv2d as theory


@pytest.fixture
def counted():
    """An op of (x, weight) and a factor, and how often it was planned."""
    made = []

    def plan(x, weight, factor):
        made.append(factor)
        return lambda x, weight: x * factor if weight is None else x * weight * factor

    return plans.planned(plan), made


def test_the_next_call_of_a_kind_is_not_planned(counted):
    op, made = counted
    for _ in range(3):
        torch.testing.assert_close(op((torch.ones(2, 3), None), (2,)), torch.full((2, 3), 2.0))
    assert made == [2]


@pytest.mark.parametrize(
    "other",
    [
        lambda op: op((torch.ones(3, 3), None), (2,)),
        lambda op: op((torch.ones(3, 2).t(), None), (2,)),
        lambda op: op((torch.ones(2, 3).double(), None), (2,)),
        lambda op: op((torch.ones(2, 3, requires_grad=True), None), (2,)),
        lambda op: op((torch.ones(2, 3), torch.ones(3)), (2,)),
        lambda op: op((torch.ones(2, 3), None), (3,)),
        lambda op: op((torch.ones(2, 3), None), (2.0,)),
        lambda op: op((torch.ones(2, 3), None), (True,)),
        lambda op: torch.no_grad()(op)((torch.ones(2, 3), None), (2,)),
        lambda op: torch.autocast("cpu")(op)((torch.ones(2, 3), None), (2,)),
        lambda op: torch.func.vmap(lambda x: op((x, None), (2,)))(torch.ones(1, 2, 3)),
        lambda op: torch.func.grad(lambda x: op((x, None), (2,)).sum())(torch.ones(2, 3)),
        lambda op: torch.jit.trace(lambda x: op((x, None), (2,)), torch.ones(2, 3)),
        lambda op: torch.func.jvp(
            lambda x: op((x, None), (2,)), (torch.ones(2, 3),), (torch.ones(2, 3),)
        ),
    ],
)
def test_another_kind_of_call_is_planned(counted, other):
    op, made = counted
    op((torch.ones(2, 3), None), (2,))
    other(op)
    assert len(made) > 1


def test_what_decides_elsewhere_is_asked_each_time(counted):
    op, made = counted
    call = (torch.ones(2, 3), None), (2,)
    op(*call)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        op(*call)
    finally:
        torch.set_num_threads(threads)
    lamina.set_numerics("strict")
    try:
        op(*call)
    finally:
        lamina.set_numerics("fast")
    with calibration.only(calibration.Calibration(calibration.MACHINES)):
        op(*call)
    assert len(made) == 4
    op(*call)
    assert len(made) == 4


def test_a_setting_that_can_change_is_not_remembered(counted):
    op, made = counted
    settings = (torch.tensor(2.0),)
    op((torch.ones(2), None), settings)
    op((torch.ones(2), None), settings)
    assert len(made) == 2


def test_no_more_than_so_many_are_kept(counted, monkeypatch):
    monkeypatch.setattr(plans, "MOST", 2)
    op, made = counted
    for rows in (1, 2, 3, 3, 1):
        op((torch.ones(rows), None), (2,))
    assert len(made) == 4  # the first two were dropped for the third


def test_a_plan_keeps_no_tensor_alive():
    x, weight = torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3)
    seen = [weakref.ref(x), weakref.ref(weight)]
    ops.conv2d(x, weight, padding=1)
    del x, weight
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


@pytest.mark.parametrize("grad", [False, True])
def test_a_layer_follows_whoever_changes_it(grad):
    layer = lamina.nn.Conv2d(4, 4, 3, padding=1)
    x = torch.randn(1, 4, 8, 8)

    def check():
        with torch.set_grad_enabled(grad):
            for _ in range(2):
                expected = F.conv2d(
                    x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation
                )
                torch.testing.assert_close(layer(x), expected)

    check()
    layer.stride = (2, 2)
    check()
    layer.padding = (0, 1)
    check()
    layer.dilation = (2, 1)
    check()
    layer.weight = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    layer.bias = None
    check()
    layer.weight.data = torch.randn(5, 4, 1, 1)
    check()
    layer.double()
    x = x.double()
    check()


def test_what_equals_a_valid_argument_is_refused_after_it():
    x, weight = torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3)
    ops.conv2d(x, weight, stride=1)
    with pytest.raises(ValueError, match="stride"):
        ops.conv2d(x, weight, stride=1.0)


def test_a_wrong_weight_is_refused_after_a_right_one():
    layer = lamina.nn.Conv2d(4, 4, 3)
    x = torch.ones(1, 4, 8, 8)
    layer(x)
    layer.weight.data = torch.ones(4, 3, 3, 3)
    with pytest.raises(ValueError, match="must have 3 channels"):
        layer(x)
    layer.weight.data = torch.ones(4, 4, 3, 3, dtype=torch.float64)
    with pytest.raises(TypeError, match="cast one"):
        layer(x)


def test_small_products_of_pytorchs_are_left_to_it(small_calls):
    def case(shape, outputs=8, kernel=3, **options):
        return theory.problem(shape, outputs, kernel, **options)

    known = calibration.Calibration(calibration.MACHINES)
    with calibration.only(known):
        assert choice.leaves_to_pytorch(case((1, 8, 8, 8)), ("forward",))
        assert choice.leaves_to_pytorch(case((2, 8, 8, 8), kernel=1), ("forward",))
        # oneDNN's: what it takes is a question of the figures.
        assert not choice.leaves_to_pytorch(case((2, 8, 8, 8)), ("forward",))
