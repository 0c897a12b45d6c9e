"""Small Keras models, each made for what goes wrong in a port; built alike on both backends.

TensorFlow's process reads this file by itself: it imports Keras alone, and no lamina.
"""

import keras
import numpy as np
from keras import layers, ops

NETS = {}


def net(*, training=True):
    """Enter a factory: what it returns is compared, in training too unless it draws numbers."""

    def enter(factory):
        NETS[factory.__name__] = (factory, training)
        return factory

    return enter


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts])


@net()
def same_at_stride_1_odd_kernel():
    return sequential((9, 8, 3), layers.Conv2D(4, 3, padding="same", name="conv"))


@net()
def same_at_stride_2_even_size():
    return sequential((8, 10, 3), layers.Conv2D(4, 3, strides=2, padding="same"))


@net()
def same_at_stride_2_odd_size():
    return sequential((9, 7, 3), layers.Conv2D(4, 3, strides=2, padding="same"))


@net()
def same_at_stride_2_any_size():
    return sequential((None, None, 3), layers.Conv2D(4, 3, strides=2, padding="same"))


@net()
def same_even_kernel():
    return sequential((8, 9, 3), layers.Conv2D(4, (2, 4), padding="same"))


@net()
def same_with_dilation():
    return sequential((11, 9, 3), layers.Conv2D(4, 3, dilation_rate=2, padding="same"))


@net()
def stride_larger_than_kernel():
    return sequential((9, 11, 3), layers.Conv2D(4, 2, strides=(3, 4), padding="same"))


@net()
def grouped_convolution():
    return sequential((8, 8, 6), layers.Conv2D(4, 3, groups=2), layers.Conv2D(8, 1, groups=4))


@net()
def unequal_padding_order():
    return sequential(
        (8, 8, 3), layers.ZeroPadding2D(((1, 2), (3, 0))), layers.Conv2D(4, 3, strides=2)
    )


@net()
def symmetric_padding_merges():
    return sequential(
        (8, 8, 3), layers.ZeroPadding2D((1, 2)), layers.Conv2D(4, 3, strides=2, activation="relu")
    )


@net()
def padding_before_max_pooling():
    return sequential(
        (8, 8, 3), layers.Conv2D(4, 1), layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)
    )


@net()
def depthwise_with_multiplier():
    return sequential(
        (8, 9, 3),
        layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same"),
        layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu6"),
    )


@net()
def separable():
    return sequential(
        (9, 8, 3),
        layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2),
        layers.SeparableConv2D(4, 3, use_bias=False, activation="relu"),
    )


@net()
def transposed_convolutions():
    return sequential(
        (5, 6, 3),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.Conv2DTranspose(4, 2, strides=2),
        layers.Conv2DTranspose(4, 4, strides=2, padding="same"),
        layers.Conv2DTranspose(2, 3, padding="same", activation="tanh"),
        layers.Conv2DTranspose(2, 2, strides=3),
    )


@net()
def dense_after_flatten():
    return sequential(
        (5, 4, 3), layers.Conv2D(6, 3), layers.Flatten(), layers.Dense(7), layers.Dense(2)
    )


@net(training=False)
def dense_after_flatten_and_more():
    return sequential(
        (5, 4, 3),
        layers.Conv2D(6, 2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.Activation("tanh"),
        layers.Dense(7, activation="softmax"),
    )


@net()
def flatten_at_the_end():
    return sequential((5, 4, 3), layers.Conv2D(6, 3), layers.Flatten())


@net()
def flatten_read_by_softmax():
    return sequential((5, 4, 3), layers.Flatten(), layers.Softmax(), layers.Dense(2))


@net()
def dense_on_images():
    return sequential((5, 4, 3), layers.Dense(6, activation="relu"), layers.Conv2D(4, 3))


@net()
def batch_norm_defaults():
    return sequential((6, 5, 3), layers.Conv2D(4, 3), layers.BatchNormalization())


@net()
def batch_norm_momentum_epsilon():
    return sequential((6, 5, 3), layers.BatchNormalization(momentum=0.6, epsilon=0.1))


@net()
def batch_norm_without_scale():
    return sequential((6, 5, 3), layers.BatchNormalization(scale=False))


@net()
def batch_norm_without_center():
    return sequential((6, 5, 3), layers.BatchNormalization(center=False))


@net()
def batch_norm_without_either():
    return sequential((6, 5, 3), layers.BatchNormalization(center=False, scale=False))


@net()
def batch_norm_on_rows():
    return sequential((6, 5, 3), layers.BatchNormalization(axis=1), layers.Conv2D(2, 3))


@net()
def batch_norm_of_vectors():
    return sequential((6,), layers.Dense(5), layers.BatchNormalization(), layers.ReLU())


@net()
def batch_norm_frozen():
    frozen = layers.BatchNormalization(trainable=False)
    return sequential((6, 5, 3), layers.Conv2D(4, 3), frozen, layers.BatchNormalization())


@net()
def backbone_in_inference_mode():
    inputs = keras.Input((8, 8, 3))
    backbone = sequential((8, 8, 3), layers.Conv2D(4, 3), layers.BatchNormalization())
    x = backbone(inputs, training=False)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@net()
def average_same():
    return sequential(
        (7, 8, 3),
        layers.AveragePooling2D(3, 1, padding="same"),
        layers.AveragePooling2D(2, 2, padding="same"),
        layers.AveragePooling2D((3, 2), (2, 1), padding="same"),
    )


@net()
def max_same_on_negatives():
    return sequential(
        (7, 8, 3),
        layers.Activation("softplus"),
        layers.Rescaling(-1.0),
        layers.MaxPooling2D(3, 2, padding="same"),
        layers.MaxPooling2D(2, 2, padding="same"),
    )


@net()
def stride_is_one_side_of_the_window():
    return sequential(
        (13, 13, 3), layers.MaxPooling2D((4, 1), 4), layers.AveragePooling2D((2, 3), 2)
    )


@net()
def max_same_any_size():
    return sequential((None, None, 3), layers.MaxPooling2D(3, 2, padding="same"))


@net()
def global_pools():
    inputs = keras.Input((6, 5, 3))
    flat = layers.concatenate(
        [layers.GlobalAveragePooling2D()(inputs), layers.GlobalMaxPooling2D()(inputs)]
    )
    kept = layers.GlobalMaxPooling2D(keepdims=True)(inputs)
    kept = kept + layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    return keras.Model(inputs, [flat, layers.Conv2D(4, 1)(kept)])


@net()
def adaptive_pools():
    return sequential(
        (7, 9, 3), layers.AdaptiveAveragePooling2D((4, 5)), layers.AdaptiveMaxPooling2D(3)
    )


@net()
def squeeze_and_excite():
    inputs = keras.Input((6, 5, 8))
    x = layers.GlobalAveragePooling2D()(inputs)
    x = layers.Reshape((1, 1, 8))(x)
    x = layers.Conv2D(2, 1, activation="relu")(x)
    x = layers.Conv2D(8, 1, activation="hard_sigmoid")(x)
    return keras.Model(inputs, layers.Multiply()([inputs, x]))


@net()
def scalar_operations():
    inputs = keras.Input((6, 5, 3))
    x = ops.relu6(inputs + 3.0) * (1.0 / 6.0)
    x = (1.0 - x) / 2 - inputs
    return keras.Model(inputs, ops.maximum(x, 0.1) + ops.mean(x, axis=-1, keepdims=True))


@net()
def residual_and_dense_connections():
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Add()([x, inputs])
    x = layers.Concatenate()([x, inputs, layers.Average()([x, inputs])])
    x = layers.Subtract()([layers.Maximum()([x, -x]), layers.Minimum()([x, x * 2])])
    return keras.Model(inputs, x)


@net()
def channel_shuffle():
    inputs = keras.Input((6, 5, 8))
    x = layers.Reshape((6, 5, 2, 4))(inputs)
    x = layers.Permute((1, 2, 4, 3))(x)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Reshape((6, 5, 8))(x)))


@net()
def split_and_slice():
    inputs = keras.Input((6, 5, 8))
    one, other = ops.split(inputs, 2, axis=-1)
    return keras.Model(
        inputs, ops.concatenate([other, one * 2, inputs[..., ::2][:, 1:, 1:]][:2], -1)
    )


@net()
def permute_and_reduce():
    inputs = keras.Input((6, 5, 3))
    x = layers.Permute((3, 1, 2))(inputs)
    return keras.Model(inputs, [x, ops.sum(x, axis=2), ops.max(inputs, axis=(1, 3))])


@net()
def advanced_activations():
    return sequential(
        (6, 5, 3),
        layers.LeakyReLU(),
        layers.ELU(alpha=0.5),
        layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2),
        layers.ReLU(max_value=1.2),
        layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal"),
        layers.PReLU(alpha_initializer="random_normal"),
        layers.Softmax(axis=1),
        layers.Softmax(),
    )


@net()
def named_activations():
    inputs = keras.Input((40,))
    names = """relu relu6 leaky_relu elu selu celu gelu silu swish hard_silu mish sigmoid
    hard_sigmoid log_sigmoid tanh hard_tanh tanh_shrink softplus softsign soft_shrink hard_shrink
    exponential softmax log_softmax glu linear"""
    return keras.Model(inputs, [layers.Activation(name)(inputs) for name in names.split()])


@net()
def layer_as_activation():
    return sequential(
        (6, 5, 3), layers.Conv2D(4, 3, activation=layers.LeakyReLU(0.3)), layers.Dense(3, "gelu")
    )


@net()
def layer_and_group_norm():
    return sequential(
        (6, 5, 8),
        layers.GroupNormalization(-1, scale=False),
        layers.LayerNormalization(),
        layers.GroupNormalization(4),
        layers.LayerNormalization(axis=[1, 2, 3], center=False),
    )


@net(training=False)
def dropouts():
    return sequential(
        (6, 5, 3),
        layers.Dropout(0.3, noise_shape=(None, 1, 1, 1)),
        layers.SpatialDropout2D(0.3),
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.2),
        layers.Dropout(0.2, seed=3),
    )


@net(training=False)
def augmentation_and_preprocessing():
    return sequential(
        (6, 5, 3),
        layers.RandomFlip(),
        layers.Rescaling(1 / 127.5, offset=-1),
        layers.Rescaling([1.0, 2.0, 3.0], offset=[0.1, 0.2, 0.3]),
        layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
    )


@net(training=False)
def normalization_that_was_adapted():
    return sequential((6, 5, 3), layers.Normalization(), layers.Conv2D(2, 3))


@net()
def resizing():
    return sequential(
        (7, 6, 3),
        layers.UpSampling2D((2, 3)),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Resizing(9, 11),
        layers.Resizing(5, 13, interpolation="nearest"),
        layers.Cropping2D(((1, 0), (2, 3))),
    )


@net()
def shared_layer():
    one, other = keras.Input((6, 6, 3), name="one"), keras.Input((9, 9, 3), name="other")
    conv = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")
    pool = layers.GlobalAveragePooling2D()
    return keras.Model([one, other], pool(conv(one)) * pool(conv(other)))


@net()
def nested_models():
    inputs = keras.Input((8, 8, 3))
    inner = sequential((8, 8, 3), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization())
    outer_inputs = keras.Input((8, 8, 3))
    outer = keras.Model(outer_inputs, layers.ReLU()(inner(outer_inputs)), name="outer")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, layers.Flatten()(outer(inputs)) + layers.Flatten()(x))


@net()
def twin_encoders():
    one, other = keras.Input((8, 8, 3), name="one"), keras.Input((3, 8, 8), name="other")
    encoder = sequential(
        (8, 8, 3),
        layers.Conv2D(4, 3, strides=2, padding="same"),
        layers.Flatten(),
        layers.Dense(5, activation="tanh"),
    )
    other_image = layers.Permute((2, 3, 1))(other)
    return keras.Model([one, other], layers.Subtract()([encoder(one), encoder(other_image)]))


@net()
def layer_of_two_models():
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    inner = sequential((8, 8, 3), conv, layers.ReLU())
    return keras.Model(inputs, inner(conv(inputs)))


@net()
def names_that_are_no_identifiers():
    return sequential(
        (6, 5, 3),
        layers.Conv2D(4, 1, name="1x1-conv"),
        layers.Conv2D(4, 1, name="lambda"),
        layers.Conv2D(4, 1, name="train"),
        layers.Conv2D(4, 1, name="conv pad"),
    )


@net()
def channels_first():
    inputs = keras.Input((3, 6, 5))
    x = layers.Permute((2, 3, 1))(inputs)
    x = layers.Conv2D(4, 3)(x)
    return keras.Model(inputs, layers.Permute((3, 1, 2))(x))


@net()
def sequences():
    return sequential(
        (7,),
        layers.Reshape((7, 1)),
        layers.Dense(4),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.Flatten(),
    )


@net()
def embedded_tokens():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.RMSNormalization()(layers.Embedding(5, 4)(inputs))
    scores = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 2.0)
    return keras.Model(inputs, ops.mean(ops.matmul(scores, x), axis=1))


@net()
def operations_on_axes():
    inputs = keras.Input((6, 5, 4))
    rows = ops.expand_dims(ops.mean(inputs, axis=(1, 2)), 1)
    pooled = ops.squeeze(ops.max(inputs, axis=1, keepdims=True), 1)
    stacked = ops.stack([pooled, ops.swapaxes(ops.swapaxes(pooled, 1, 2), 1, 2)], axis=1)
    padded = ops.pad(inputs, ((0, 0), (1, 0), (0, 2), (0, 0)))
    last = inputs[:, -1, ..., 1:3]
    return keras.Model(
        inputs, [rows, stacked, padded, last, inputs + np.arange(4.0), ops.exp(last)]
    )


@net()
def center_crop():
    return sequential((9, 8, 3), layers.CenterCrop(4, 6), layers.Conv2D(2, 3))


@net()
def dot_products():
    one, other = keras.Input((5,)), keras.Input((5,))
    return keras.Model(
        [one, other],
        [layers.Dot(axes=1)([one, other]), layers.Dot(axes=-1, normalize=True)([one, other])],
    )


class Block(layers.Layer):
    """A layer of somebody's own, made of layers."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(filters, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.norm.build((*input_shape[:-1], self.conv.filters))

    def call(self, x, training=False):
        return ops.relu(self.norm(self.conv(x), training=training)) + x

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)


class Subclassed(keras.Model):
    """A model of somebody's own."""

    def __init__(self):
        super().__init__()
        self.stem = layers.Conv2D(4, 3, strides=2, padding="same", name="stem")
        self.first = Block(4, name="first")
        self.second = Block(4, name="second")
        self.head = layers.Dense(3, name="head")

    def call(self, x, training=False):
        x = self.second(self.first(self.stem(x), training=training), training=training)
        return self.head(ops.reshape(x, (-1, 4 * 4 * 4)))


@net()
def subclassed_model():
    model = Subclassed()
    model(ops.zeros((1, 8, 8, 3)))
    return model


def build(name, **options):
    """A net of this file, or one of keras.applications."""
    if name in NETS:
        return NETS[name][0]()
    return getattr(keras.applications, name)(weights=None, **options)


def finalize(model):
    """Have Normalization compute with the weights that were set."""
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
