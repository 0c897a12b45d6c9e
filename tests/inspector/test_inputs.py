"""What may come in, and one clear line for what may not."""

import pytest
import torch
from torch import nn

from lamina.errors import InputError
from lamina.inspector import ForwardError, inspect
from tests.inspector.networks import Wrap


def test_several_inputs_and_outputs():
    account = inspect(Wrap(lambda x, y: (x @ y, [x.sum()])), [(2, 3), (3, 4)])
    assert account.totals.macs == 24
    assert account.rows[0].input_shapes == [(2, 3), (3, 4)]
    assert account.rows[0].output_shapes == [(2, 4), ()]


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 2)

    def forward(self, left, right, scale=1.0):
        return {"sum": self.dense(input=left) * scale + right["nested"][0]}


def test_named_nested_and_plain_inputs():
    data = {"left": torch.ones(3, 4), "right": {"nested": [torch.ones(2)]}, "scale": 2.0}
    account = inspect(Named(), input_data=data)
    assert account.totals.macs == 24
    dense = next(row for row in account.rows if row.name == "dense")
    assert dense.input_shapes == [(3, 4)]  # given by name


def test_sizes_by_name_and_integer_inputs():
    account = inspect(
        Wrap(lambda i, table: table(i), table=nn.Embedding(10, 4)), (3, 5), dtype=torch.long
    )
    assert account.rows[-1].output_shapes == [(3, 5, 4)]
    assert account.totals.parameters == 40


def test_lazy_modules_are_counted_and_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    account = inspect(model, (2, 3, 8, 8))
    assert account.totals.parameters == 3 * 8 * 9 + 8 + 16 + 8 * 36 * 3 + 3
    assert nn.parameter.is_lazy(model[0].weight)


def test_control_flow_that_depends_on_the_data_is_counted_for_the_input_given():
    model = Wrap(lambda x: x @ x if x.sum() > 0 else x)
    account = inspect(model, input_data=torch.ones(4, 4))
    assert account.totals.macs == 64
    assert inspect(model, input_data=-torch.ones(4, 4)).totals.macs == 0
    assert any("for the input given" in note for note in account.notes)


def test_a_module_that_is_never_called_has_a_row():
    model = Wrap(lambda x, used, unused: used(x), used=nn.Linear(4, 4), unused=nn.Linear(4, 4))
    row = next(row for row in inspect(model, (1, 4)).rows if row.name == "unused")
    assert (row.call, row.parameters, row.macs) == (None, 20, 0)


def test_an_error_names_the_module_and_what_it_said():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.BatchNorm2d(9)))
    with pytest.raises(
        ForwardError, match=r"1\.0 \(BatchNorm2d\) raised in forward.*8.*9"
    ) as caught:
        inspect(model, (2, 3, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either input_size or input_data, got neither"),
        ({"input_size": (1, 3), "input_data": torch.ones(1)}, "got both"),
        ({"input_size": ()}, "must be a size"),
        ({"input_size": "1,3"}, "must be a size"),
        ({"input_size": (1, -3)}, "whole numbers"),
        ({"input_size": (1, 2.5)}, "whole numbers"),
    ],
)
def test_bad_inputs(arguments, message):
    with pytest.raises(InputError, match=message):
        inspect(nn.Identity(), **arguments)


def test_no_module():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        inspect("resnet", (1, 3))
