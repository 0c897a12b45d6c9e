"""Which objects a model file may ask for: a list of classes, and nothing that runs code of its own.

A file's configuration names classes by module and name, and whoever builds a model from it imports
them. So the whole tree is read first, and every name in it must be in the lists below: no
``Lambda`` (Python code in the file), no wrapper of another framework's code, no layer that reads
another file, no class of anybody's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamina.errors import InputError

__all__ = ["check_configuration", "objects_in"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LAYERS = _names("""
Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D AveragePooling3D
BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose
Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D
Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten GRU
GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
GroupQueryAttention Identity InputLayer InputSpec LSTM LSTMCell LayerNormalization LeakyReLU Masking
MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization
PReLU Permute RMSNormalization RNN RandomBrightness RandomContrast RandomCrop RandomFlip
RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D
SpatialDropout3D SpectralNormalization StackedRNNCells Subtract TimeDistributed UnitNormalization
UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")
_INITIALIZERS = _names("""
Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
""")
_OURS = _names("""
AdaptiveAveragePooling2D AdaptiveMaxPooling2D AveragePooling2D BatchNormalization Conv2D Dense
DepthwiseConv2D DropPath Dropout GlobalAveragePooling2D GlobalMaxPooling2D MaxPooling2D
PointwiseConv2D SeparableConv2D SpatialDropout2D SqueezeExcite
""")
_ACTIVATIONS = _names("""
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
softsign sparse_plus sparsemax squareplus swish tanh tanh_shrink threshold
""")
_OPERATIONS = _names("""
Abs Absolute Add Amax Amin Arctan Average Ceil Celu Clip Concatenate Conv Cos Cumsum Divide
Einsum Elu Exp Exp2 ExpandDims Expm1 Flip Floor Gelu Glu HardSigmoid HardSilu LeakyRelu Log
Log1p LogSoftmax Matmul Max Maximum Mean Min Minimum MaxPool AveragePool DepthwiseConv
SeparableConv ConvTranspose Mish Moveaxis Multiply Negative Pad Power Prod Reciprocal Relu Relu6
Repeat Reshape Roll Round Rsqrt Sigmoid Sign Silu Sin Softmax Softplus Split Sqrt Square Squeeze
Stack Std Subtract Sum Swapaxes Take Tanh Tile Transpose TrueDivide Var GetItem Cast
""")
_CLASSES = {
    "keras": frozenset(["DTypePolicy", "Functional", "InputSpec", "Model", "Sequential"]),
    "keras.models": frozenset(["Functional", "Model", "Sequential"]),
    "keras.src.models.functional": frozenset(["Functional"]),
    "keras.src.models.sequential": frozenset(["Sequential"]),
    "keras.layers": _LAYERS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": frozenset(["L1", "L1L2", "L2", "OrthogonalRegularizer"]),
    "keras.constraints": frozenset(["MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"]),
    "keras.dtype_policies": frozenset(["DTypePolicy", "FloatDTypePolicy"]),
    "keras.random": frozenset(["SeedGenerator"]),
    "keras.src.random.seed_generator": frozenset(["SeedGenerator"]),
    **{f"keras.src.ops.{part}": _OPERATIONS for part in ("numpy", "nn", "math", "core")},
}
# What Keras writes for values that are no objects: tensors' places in the graph, arrays, slices.
_VALUES = frozenset(["__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"])


def check_configuration(path: str, configuration: object) -> None:
    """Raise unless a model's configuration names allowed classes alone.

    Args:
        path: the file, for the message.
        configuration: what its JSON says; it is not changed.

    Raises:
        InputError: the first object that is not allowed, by the name of its layer.

    Example:
        >>> dense = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d"}}
        >>> check_configuration("a.keras", dense)
        >>> check_configuration("a.keras", {**dense, "class_name": "Lambda"})
        Traceback (most recent call last):
        ...
        lamina.errors.InputError: model 'a.keras': layer 'd' is a keras.layers.Lambda, ...
    """
    for named, owner in objects_in(configuration):
        fault = _fault(named)
        if fault:
            of = f"layer {owner!r} is" if owner else "it holds"
            raise InputError(
                f"model {path!r}: {of} {fault}, which may run code of its own; "
                "--allow-custom-code builds it, if you trust the file"
            )


def objects_in(configuration: object) -> Iterator[tuple[dict[str, Any], str]]:
    """Every dictionary that names a class, and the name of the layer that it belongs to."""
    pending: list[tuple[Any, str]] = [(configuration, "")]
    while pending:  # a file may nest deeper than Python recurses
        value, owner = pending.pop()
        if isinstance(value, list):
            pending += [(item, owner) for item in reversed(value)]
        elif isinstance(value, dict):
            if "class_name" in value:
                inner = value.get("config")
                name = inner.get("name") if isinstance(inner, dict) else None
                owner = name if isinstance(name, str) and "module" in value else owner
                yield value, owner
            pending += [(item, owner) for item in reversed(value.values())]


def _fault(named: dict[str, Any]) -> str:
    """What an object is, if it is not allowed."""
    module, name = named.get("module"), named["class_name"]
    registered = named.get("registered_name")
    if not isinstance(name, str) or "config" not in named:
        return "an object that cannot be read"
    if name in _VALUES and module is None:
        return ""
    if name == "function":
        function = named["config"]
        known = module in ("builtins", "keras.activations") and function in _ACTIVATIONS
        return "" if known else f"the function {function!r}"
    if isinstance(module, str) and module.startswith("lamina.layers."):
        ours = name in _OURS and registered == f"lamina>{name}"
        return "" if ours else f"a {module}.{name}"
    allowed = isinstance(module, str) and name in _CLASSES.get(module, ())
    if allowed and registered in (None, name):
        return ""
    full = f"{module}.{name}" if isinstance(module, str) else (registered or name)
    return f"a {full}"
