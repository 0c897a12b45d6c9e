"""What stands in where nothing was measured: two cores of an AMD EPYC with AVX-512."""

from __future__ import annotations

from lamina.theory.conv2d_problem import Pass
from lamina.theory.limits import Machine

_WINOGRAD = ("winograd_4x4", "winograd_2x2")
_OTHERS = {
    "im2col": 0.4,  # these two are never chosen, and so never measured
    "fft": 0.1,
    "onednn.reorder": 0.12,  # of NCHW images, which calibrating leaves out
    **dict.fromkeys((f"{name}.reorder" for name in ("direct", *_WINOGRAD)), 0.65),
}

_Shares = tuple[float, float, float, float]


def _machine(
    overhead: dict[str, float],
    onednn: tuple[float, float],
    direct: tuple[float, float, float],
    winograd: tuple[_Shares, _Shares],
) -> Machine:
    shares = {
        "onednn.pack": onednn[0],
        "onednn.product": onednn[1],
        "onednn.strided_product": 0.9 * onednn[1],
        "onednn.first_touch": 0.09,
        "matrix_product.product": 0.42,
        "matrix_product.few_positions": 0.4,
        "direct.pack": direct[0],
        "direct.gather": direct[1],
        "direct.product": direct[2],
        "direct.few_positions": 0.8,
    }
    for name, (weight, tiles, product, strided) in zip(_WINOGRAD, winograd, strict=True):
        shares[f"{name}.weight_transform"] = weight
        shares[f"{name}.input_transform"] = shares[f"{name}.output_transform"] = tiles
        shares[f"{name}.product"] = product
        shares[f"{name}.strided_product"] = strided
    return Machine(
        peak_flops=535e9,
        bandwidth=60e9,
        cache_bytes=24 << 20,
        cache_bandwidth=190e9,
        overhead=overhead,
        efficiency={**shares, **_OTHERS},
    )


def _overhead(*microseconds: float) -> dict[str, float]:
    names = ("onednn", "direct", *_WINOGRAD, "around the kernels", "matrix_product")
    return {name: 1e-6 * t for name, t in zip(names, microseconds, strict=True)}


MACHINES: dict[Pass, Machine] = {
    "forward": _machine(
        _overhead(15, 8.2, 9.3, 8.6, 5, 20),
        (0.36, 0.92),
        (0.37, 0.04, 0.89),
        ((0.48, 0.38, 1.0, 0.77), (0.38, 0.38, 1.0, 0.90)),
    ),
    "input_gradient": _machine(
        _overhead(18, 8.4, 8.4, 8.3, 20, 20),
        (0.41, 0.92),
        (0.89, 0.04, 0.92),
        ((0.57, 0.40, 1.0, 0.90), (0.46, 0.40, 1.0, 0.92)),
    ),
    "weight_gradient": _machine(
        _overhead(18, 6.6, 7.3, 5.9, 20, 20),
        (0.40, 0.84),
        (0.52, 0.04, 0.84),
        ((0.43, 0.37, 0.97, 0.61), (0.40, 0.37, 0.98, 0.85)),
    ),
}
