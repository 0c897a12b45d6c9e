"""What acts in training alone, and what does nothing here."""

from __future__ import annotations

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import Constructor, constructor
from lamina.interchange.from_keras.value import Value

__all__: list[str] = []

_AUGMENTATIONS = """
AugMix AutoContrast RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
RandomSharpness RandomShear RandomTranslation RandomZoom
"""


@layer("Dropout")
def _dropout(call: Call, x: Value) -> Value:
    drop = call.operation
    p, noise_shape = float(drop.rate), drop.noise_shape
    if noise_shape is None:
        return _drop(call, x, constructor("Dropout", p))
    if len(noise_shape) != x.rank:
        call.refuse(f"its noise_shape {noise_shape} is not of its input's {x.rank} axes", "dropout")
    for noise, size in zip(noise_shape, x.shape, strict=True):
        if noise not in (None, 1, size):
            call.refuse(f"its noise_shape {noise_shape} fixes the size of an axis", "dropout")
    return _shared(call, x, p, [axis for axis, noise in enumerate(noise_shape) if noise == 1])


@layer("SpatialDropout2D")
def _spatial_dropout2d(call: Call, x: Value) -> Value:
    return _drop(call, call.image(x), constructor("Dropout2d", float(call.operation.rate)))


@layer("DropPath")
def _drop_path(call: Call, x: Value) -> Value:
    return _shared(call, x, float(call.operation.rate), list(range(1, x.rank)))


@layer("StochasticDepth")
def _stochastic_depth(call: Call, x: Value) -> Value:
    return _shared(call, x, float(call.operation.drop_path_rate), list(range(1, x.rank)))


@layer("GaussianNoise")
def _gaussian_noise(call: Call, x: Value) -> Value:
    return _drop(call, x, constructor("GaussianNoise", float(call.operation.stddev)))


@layer("GaussianDropout")
def _gaussian_dropout(call: Call, x: Value) -> Value:
    return _drop(call, x, constructor("GaussianDropout", float(call.operation.rate)))


@layer("Identity")
def _identity(call: Call, x: Value) -> Value:
    return x


@layer("ActivityRegularization")
def _activity_regularization(call: Call, x: Value) -> Value:
    call.note("dropped", "regulariser", "its term of the loss")
    return x


@layer(*_AUGMENTATIONS.split())
def _augmentation(call: Call, x: Value) -> Value:
    call.note("dropped", "preprocessing", "images are no longer augmented in training")
    return x


def _shared(call: Call, x: Value, p: float, axes: list[int]) -> Value:
    """Dropout with one draw along some axes."""
    dims = sorted(x.dim(axis) for axis in axes)
    if not dims:
        return _drop(call, x, constructor("Dropout", p))
    if call.builder.flavour == "lamina":
        noise_shape = tuple(1 if dim in dims else None for dim in range(x.rank))
        whole = dims == list(range(1, x.rank))
        options = {} if whole else {"noise_shape": (noise_shape, None)}
        return _drop(call, x, constructor("DropPath" if whole else "Dropout", p, **options))
    return _drop(call, x, constructor("SharedDropout", p, tuple(dims)))


def _drop(call: Call, x: Value, made_by: Constructor) -> Value:
    if call.training is False:
        call.note("dropped", "mode", "it is called with training=False, where it does nothing")
        return x
    if call.training:
        call.refuse("it is called with training=True, and would not know evaluation", "mode")
    seed = getattr(call.operation, "seed", None)
    if seed is not None:
        call.note("dropped", "dropout", f"its seed {seed}: the masks are others")
    return call.module(x, made_by)
