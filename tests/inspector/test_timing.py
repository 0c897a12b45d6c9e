"""Measured times: the rows explain the whole, limits are the theory's, nothing is disturbed."""

import pytest
import torch
from torch import nn

from lamina.inspector import inspect
from lamina.theory.limits import Machine, time_limit
from tests.inspector.networks import Hand

MACHINE = Machine(peak_flops=100e9, bandwidth=10e9)


def wide():
    """Layers long enough for a clock: some milliseconds each."""
    layers = [nn.Conv2d(3, 48, 3, padding=1)]
    for _ in range(4):
        layers += [nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10))


@pytest.mark.slow  # of use on an idle machine alone
def test_the_rows_explain_the_whole():
    # Another process may take the processor in any one of the runs: several attempts.
    shares = []
    for _ in range(6):
        totals = inspect(wide(), (4, 3, 64, 64), training=True, measure=True, seconds=1.0).totals
        shares.append(
            (
                abs(totals.rest_forward) / totals.time_forward.median,
                abs(totals.rest_backward) / totals.time_backward.median,
            )
        )
        if max(shares[-1]) <= 0.10:
            return
    pytest.fail(f"rest of the whole in six attempts: {shares}")


def test_every_row_that_works_has_a_time_and_a_limit():
    account = inspect(Hand(), (2, 3, 32, 32), measure=True, seconds=0.2, machine=MACHINE)
    for row in account.rows:
        if row.is_container:
            assert row.time_forward is None
            continue
        assert row.time_forward.median > 0
        assert row.time_forward.spread >= 0
        assert row.limit_forward == time_limit(row.forward, MACHINE)
        if row.backward.macs:
            assert row.time_backward.median > 0
    assert account.machine is MACHINE
    total = sum(row.limit_forward for row in account.rows)
    assert account.totals.limit_forward == pytest.approx(total)


def test_limits_without_running():
    account = inspect(Hand(), (1, 3, 32, 32), machine=MACHINE)
    rows = {row.label: row for row in account.rows}
    assert rows["conv2d"].bound_by == "arithmetic"
    assert rows["bn1"].bound_by == "memory"
    assert rows["conv2d"].time_forward is None
    assert account.totals.time_forward is None


def test_measuring_leaves_the_model_alone():
    model = Hand().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    inspect(model, (2, 3, 32, 32), training=True, measure=True, seconds=0.1, machine=MACHINE)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_alone():
    account = inspect(
        Hand(), (1, 3, 32, 32), backward=False, measure=True, seconds=0.1, machine=MACHINE
    )
    assert account.totals.time_backward is None
    assert account.totals.backward.flops == account.totals.saved_bytes == 0
