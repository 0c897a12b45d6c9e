"""Where Keras and PyTorch differ, and what goes wrong in a port that does not know.

What is said of Keras holds for TensorFlow, which decides what Keras means.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TRAPS", "Trap"]


@dataclass(frozen=True)
class Trap:
    """A row of the table.

    Attributes:
        topic: what differs.
        keras: how Keras has it.
        torch: how PyTorch has it.
        effect: what a port that ignores it gets.
    """

    topic: str
    keras: str
    torch: str
    effect: str


TRAPS: dict[str, Trap] = {
    "same-stride": Trap(
        "padding 'same' at stride > 1",
        "max(0, (ceil(n/s) − 1)·s + k − n), the odd pixel at the end; depends on the size",
        "refuses it; padding=1 pads both sides",
        "the same shape, shifted by a pixel",
    ),
    "same-even": Trap(
        "padding 'same', even kernel", "the odd pixel at the end", "the same", "none"
    ),
    "correct-pad": Trap(
        "padding of keras.applications",
        "fixed when built: (0, 1) for even or unknown sizes, (1, 1) for odd",
        "symmetric",
        "another size or a shift by a pixel",
    ),
    "padding-mode": Trap(
        "what the border holds",
        "zeros alone",
        "zeros, reflect, replicate, circular",
        "no Keras layer has it",
    ),
    "padding-order": Trap(
        "order of zero padding",
        "((top, bottom), (left, right))",
        "(left, right, top, bottom)",
        "height and width exchanged",
    ),
    "stride-dilation": Trap(
        "stride and dilation together",
        "Conv2D refuses them; DepthwiseConv2D and SeparableConv2D take them",
        "allowed",
        "no Keras layer has it",
    ),
    "unequal-strides": Trap(
        "unequal strides, depthwise", "TensorFlow fails", "allowed", "an error when it runs"
    ),
    "groups": Trap("grouped convolution", "groups one after another", "the same", "none"),
    "conv-weight": Trap(
        "convolution weight",
        "(height, width, in/groups, out)",
        "(out, in/groups, height, width)",
        "an error, or noise where sizes agree",
    ),
    "depthwise-weight": Trap(
        "depthwise weight",
        "(height, width, C, M); output c·M + m",
        "(C·M, 1, height, width)",
        "channels in another order where M > 1",
    ),
    "transposed-weight": Trap(
        "transposed convolution",
        "(height, width, out, in); 'same' gives n·stride",
        "(in, out, height, width); padding and output_padding",
        "a shift, or another size",
    ),
    "dense-weight": Trap(
        "dense weight",
        "(in, out), on the last axis",
        "(out, in), on the last axis",
        "on a (N, C, H, W) tensor torch's acts on W",
    ),
    "kernel-init": Trap(
        "initial kernels", "glorot_uniform", "±1/√fan_in", "a fresh layer trains differently"
    ),
    "depthwise-fan": Trap("fan of a depthwise kernel", "k²·C in, k²·M out", "k² in", "as above"),
    "bias-init": Trap("initial bias", "zeros", "±1/√fan_in", "as above"),
    "truncated-normal": Trap(
        "truncated normal", "deviation divided by 0.8796", "uncorrected", "as above"
    ),
    "momentum": Trap(
        "momentum of batch normalisation",
        "0.99, the part that is kept",
        "0.1, the part that is replaced",
        "statistics that hardly move, or forget at once",
    ),
    "epsilon": Trap("epsilon of batch normalisation", "1e-3", "1e-5", "a silent drift"),
    "biased-variance": Trap(
        "moving variance",
        "biased, divided by n",
        "unbiased, divided by n − 1",
        "differs where N·H·W is small",
    ),
    "one-value": Trap(
        "one value per channel in training", "gives beta", "ValueError", "a last batch of one fails"
    ),
    "freezing": Trap(
        "a frozen batch normalisation",
        "trainable=False means inference mode",
        "requires_grad=False still moves the statistics",
        "fine-tuning drifts",
    ),
    "mode": Trap(
        "the mode of a plain call", "training=False", "modules start in train()", "dropout is on"
    ),
    "center-scale": Trap(
        "shift and scale", "independent", "affine has both or none", "a weight too many"
    ),
    "cumulative": Trap(
        "momentum=None, track_running_stats=False",
        "has neither",
        "cumulative mean; batch statistics in evaluation",
        "no Keras layer has it",
    ),
    "renorm": Trap("renorm and mask", "has both", "has neither", "no torch module has it"),
    "synchronized": Trap(
        "synchronised statistics", "synchronized=True", "SyncBatchNorm, on GPUs", "local statistics"
    ),
    "norm-axis": Trap(
        "axis of batch normalisation",
        "−1, whatever data_format says",
        "1",
        "channels_first normalises columns",
    ),
    "average-border": Trap(
        "average pooling at the border",
        "counts what lies in the image",
        "count_include_pad=True",
        "other borders",
    ),
    "variance-formula": Trap(
        "formula of the variance",
        "Keras on torch takes E[x²] − E[x]²",
        "mean of squared differences",
        "NaN at large means",
    ),
    "max-padding": Trap(
        "padding of max pooling", "−∞", "−∞, at most half a window", "zeros win over negatives"
    ),
    "pool-arguments": Trap(
        "ceil_mode, dilation, return_indices, divisor_override",
        "has none",
        "has them",
        "another size or other numbers",
    ),
    "average-same": Trap(
        "average pooling, 'same', uneven",
        "TensorFlow leaves the padding out; Keras on torch is wrong",
        "symmetric padding",
        "other borders",
    ),
    "max-nan": Trap("max pooling and NaN", "TensorFlow drops it", "keeps it", "only NaN differs"),
    "global-pool": Trap(
        "global pooling", "(N, C), keepdims on request", "(N, C, 1, 1)", "another rank"
    ),
    "flatten": Trap(
        "flatten",
        "rows, columns, channels",
        "channels, rows, columns",
        "the next dense layer reads its inputs in another order",
    ),
    "dropout": Trap(
        "dropout", "noise_shape, seed", "a global generator", "no two frameworks draw one mask"
    ),
    "data-format": Trap(
        "layout of images", "(N, H, W, C)", "(N, C, H, W)", "axes of reshapes, means, joins change"
    ),
    "mixed-precision": Trap(
        "mixed precision", "a policy of the layer", "autocast, by operation", "other rounding"
    ),
    "regulariser": Trap(
        "regularisers, constraints, activity losses",
        "of a layer",
        "weight_decay of the optimiser",
        "the loss lacks a term",
    ),
    "leaky-slope": Trap("slope of LeakyReLU", "0.3", "0.01", "another function"),
    "prelu": Trap(
        "PReLU",
        "a slope per element, from 0",
        "one, or one per channel, from 0.25",
        "another number of weights",
    ),
    "hard-sigmoid": Trap(
        "hard sigmoid",
        "relu6(x + 3)/6; Keras 2 had 0.2x + 0.5",
        "relu6(x + 3)/6",
        "files of Keras 2 mean another function",
    ),
    "gelu": Trap("GELU", "exact unless told", "exact unless told", "none"),
    "group-epsilon": Trap(
        "epsilon of layer and group normalisation", "1e-3", "1e-5", "a silent drift"
    ),
    "image-size": Trap(
        "size of images",
        "fixed, or open: None",
        "whatever comes",
        "an error at another size",
    ),
    "interpolation": Trap(
        "resizing",
        "half-pixel centres; nearest takes floor(i/scale)",
        "align_corners on request",
        "a shift by part of a pixel",
    ),
    "optimizer": Trap(
        "optimiser",
        "epsilon 1e-7; momentum times learning rate; weight decay apart",
        "epsilon 1e-8; learning rate outside of the moments",
        "the first steps differ",
    ),
    "preprocessing": Trap(
        "preprocessing",
        "in the model, or preprocess_input",
        "a transform outside of it",
        "inputs of another range",
    ),
    "name": Trap(
        "names of layers",
        "any text without a slash",
        "Python's identifiers, but those that every module has",
        "an attribute that cannot be written",
    ),
    "unsupported": Trap(
        "what only one side has",
        "layers without an equal",
        "operations without an equal",
        "refused, by name",
    ),
}
"""Every difference by a short name, in the order of the kinds."""
