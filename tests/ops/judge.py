"""How a result is judged: against float64, by the error PyTorch's own float32 makes."""

import torch
from torch import Tensor

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def assert_as_good_as_torch(
    ours: Tensor, torchs: Tensor, truth: Tensor, what: str, *, rounding: float = 4.0
) -> None:
    """error(ours) ≤ 2 · error(PyTorch's float32), both against float64.

    Where PyTorch happens to hit the exact value, ``rounding`` units in the last place of the
    largest value are granted.
    """
    finite = torch.isfinite(truth)
    assert torch.equal(torch.isnan(ours), torch.isnan(truth)), f"{what}: NaN elsewhere"
    assert torch.equal(
        ours[~finite & ~torch.isnan(truth)].double(), truth[~finite & ~torch.isnan(truth)]
    )
    if not finite.any():
        return
    truth = truth[finite]
    our_error = (ours[finite].double() - truth).abs().max()
    torch_error = (torchs[finite].double() - truth).abs().max()
    floor = rounding * torch.finfo(torch.float32).eps * truth.abs().max()
    assert our_error <= 2 * torch_error + floor, (
        f"{what}: error {our_error:.3g}, PyTorch's {torch_error:.3g}, floor {floor:.3g}"
    )
