"""Keras models on the torch backend, in a process of their own: the backend is chosen at import."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json
import numpy as np
import keras
from keras import layers
from lamina.inspector import inspect

model = keras.Sequential([
    keras.Input((16, 16, 3)),
    layers.Conv2D(8, 3, padding="same", activation="relu", name="stem"),
    layers.BatchNormalization(name="norm"),
    layers.SeparableConv2D(16, 3, padding="same", name="separable"),
    layers.MaxPooling2D(name="pool"),
    layers.Dropout(0.3, name="drop"),
    layers.GlobalAveragePooling2D(name="mean"),
    layers.Dense(10, name="dense"),
])
before = [weight.copy() for weight in model.get_weights()]
seeds = [np.array(v) for v in model.non_trainable_variables]
answer = {}
for training in (False, True):
    account = inspect(model, (2, 16, 16, 3), training=training)
    totals = account.totals
    answer[str(training)] = {
        "macs": {row.label: row.macs for row in account.rows if row.macs},
        "parameters": {r.label: [r.parameters, r.frozen, r.buffers] for r in account.rows},
        "coverage": totals.coverage,
        "backward": totals.backward.macs,
        "drops": next(row for row in account.rows if row.label == "drop").forward.other_flops,
        "field": next(row for row in account.rows if row.label == "pool").receptive_field,
    }
same = all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
same &= all(np.array_equal(a, np.array(v))
            for a, v in zip(seeds, model.non_trainable_variables, strict=True))
print(json.dumps({**answer, "same": bool(same)}))
"""

UNBUILT = """
import json
import keras
import torch
from keras import layers
from lamina.errors import InputError
from lamina.inspector import inspect

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.norm = layers.BatchNormalization()
        self.pool = layers.GlobalAveragePooling2D()
        self.dense = layers.Dense(10)
        self.unused = layers.Dense(3)

    def call(self, x):
        return self.dense(self.pool(self.norm(self.conv(x))))

def half():
    model = Own()
    model.conv.build((None, 8, 8, 1))
    return model

def sequence(cls=keras.Sequential):
    return cls([layers.Conv2D(8, 3, padding="same"), layers.GlobalAveragePooling2D(),
                layers.Dropout(0.5), layers.Dense(10)])

class Mixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = sequence()

    def forward(self, x):
        return self.inner(x)

answer = {}
for make in (Own, half, sequence, Mixed):
    model = make()
    keras_model = getattr(model, "inner", model)
    parts = [keras_model, *keras_model._flatten_layers(include_self=False)]
    state = lambda: [(layer.built, sorted(vars(layer)), len(layer.weights)) for layer in parts]
    before, refusals = state(), []
    for _ in range(2):
        try:
            refusals.append(inspect(model, (2, 8, 8, 1)).totals.macs)
        except InputError as error:
            refusals.append(str(error))
    same = before == state()
    model(torch.zeros(2, 8, 8, 1))
    answer[make.__name__] = refusals, same, inspect(model, (2, 8, 8, 1)).totals.macs
print(json.dumps(answer))
"""


SIZES = """
import json
import keras
import torch
from keras import layers
from lamina.inspector import inspect
from lamina.layers import Conv2D
from lamina.report.inspection.network import size_of

def model(form):
    size = (16, 12, 3) if form == "channels_last" else (3, 16, 12)
    return keras.Sequential([
        keras.Input(size),
        Conv2D(8, 3, padding="same", data_format=form, name="ours"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(data_format=form, name="pool"),
    ]), (1, *size)

class Mixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.before, (self.inner, _) = torch.nn.Conv2d(5, 3, 1), model("channels_last")

    def forward(self, x):
        return self.inner(self.before(x).permute(0, 2, 3, 1))

def sizes(model, size):
    account = inspect(model, size)
    return {row.label.rpartition(".")[2]: size_of(row) for row in account.rows if row.output_shapes}

print(json.dumps({
    "channels_last": sizes(*model("channels_last")),
    "channels_first": sizes(*model("channels_first")),
    "mixed": sizes(Mixed(), (1, 5, 16, 12)),
}))
"""


def run(program):
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_what_is_not_built_is_refused_in_a_line_and_left_alone():
    names = {"Own": "Own", "half": "Own", "sequence": "Sequential", "Mixed": "inner"}
    for kind, (refusals, same, macs) in run(UNBUILT).items():
        line = "is not built yet: call the model on data or build it, then inspect it"
        assert refusals == [f"{names[kind]} {line}"] * 2
        assert same, kind
        assert macs == 2 * (8 * 8 * 8 * 9 + 8 * 10)  # one layer of Own is never called


def test_a_keras_model_is_counted_exactly_and_left_alone():
    answer = run(PROGRAM)
    assert answer["same"]
    pixels = 2 * 16 * 16
    for mode in ("False", "True"):
        seen = answer[mode]
        assert seen["macs"] == {
            "stem": pixels * 8 * 27,
            "separable": pixels * (8 * 9 + 8 * 16),
            "dense": 2 * 16 * 10,
        }
        assert seen["coverage"] == "complete"
        assert seen["parameters"]["stem"] == [8 * 27 + 8, 0, 0]
        assert seen["parameters"]["norm"] == [16, 0, 16]
        assert seen["parameters"]["separable"] == [8 * 9 + 8 * 16 + 16, 0, 0]
        assert seen["backward"] == 2 * sum(seen["macs"].values()) - pixels * 8 * 27
        assert seen["field"] == [6, 6]
    assert answer["False"]["drops"] == 0 < answer["True"]["drops"]


def test_a_drawing_names_channels_and_pixels_in_either_order():
    answer = run(SIZES)
    for seen in answer.values():
        assert list(seen.values())[-3:] == ["8 × 16×12", "8 × 16×12", "8 × 8×6"]
    assert answer["mixed"]["before"] == "3 × 16×12"
