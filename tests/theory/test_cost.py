"""Costs add up field by field."""

from dataclasses import astuple

import pytest

from lamina.theory.cost import Cost


def test_sum_is_field_by_field():
    total = Cost(1, 2, 3, 4, 5, 6, 7) + Cost(10, 20, 30, 40, 50, 60, 70)
    assert astuple(total) == (11, 22, 33, 44, 55, 66, 77)
    assert sum([total, total], Cost()) == total + total


def test_a_mac_is_two_flops():
    assert Cost(macs=5, other_flops=3).flops == 13


def test_intensity_of_a_view_is_zero():
    assert Cost().arithmetic_intensity == 0.0


def test_only_costs_add():
    with pytest.raises(TypeError):
        Cost() + 1
