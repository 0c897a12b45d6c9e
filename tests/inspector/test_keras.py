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


def test_a_keras_model_is_counted_exactly_and_left_alone():
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    answer = json.loads(result.stdout.splitlines()[-1])
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
