"""Expressions evaluate with every symbol named, and their exponents are the leading ones."""

import pytest

from lamina.theory import conv2d, dense, separable_conv2d
from lamina.theory.complexity import evaluate, exponents, symbols


def test_exponents():
    assert exponents(conv2d.complexity()) == {
        "C": 1, "H": 1, "K": 2, "M": 1, "N": 1, "W": 1, "groups": -1, "stride": -2,
    }  # fmt: skip
    assert exponents(dense.complexity()) == {"C": 1, "M": 1, "N": 1}
    assert exponents(separable_conv2d.complexity())["K"] == 2


def test_a_constant_term_does_not_hide_growth_but_ends_decay():
    s = symbols()
    assert exponents(s.N + 5) == {"N": 1}
    assert exponents(s.C / s.groups + s.C) == {"C": 1, "groups": 0}


def test_evaluate_names_what_is_missing():
    with pytest.raises(ValueError, match=r"^values must name every symbol of .*\['C', 'M'\]$"):
        evaluate(dense.complexity(), N=1)


def test_evaluate_keeps_fractions():
    s = symbols()
    assert evaluate(s.C / s.groups, C=3, groups=2) == 1.5
