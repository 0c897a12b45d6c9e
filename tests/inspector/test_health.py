"""Every diagnosis on a planted fault, and silence on healthy controls."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from lamina.inspector.health.examine import examine
from lamina.inspector.health.rules import (
    diagnose,
    diagnose_epochs,
    diagnose_layers,
    diagnose_losses,
)
from lamina.report.records import Health

adam = partial(torch.optim.AdamW, lr=1e-3)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], torch.tensor(data.target)[order]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def batches(digits, count=12, size=64):
    images, labels = digits
    return [
        (images[i * size : (i + 1) * size], labels[i * size : (i + 1) * size]) for i in range(count)
    ]


def healthy():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def plain(depth, normalise):
    layers = [nn.Conv2d(1, 8, 3, padding=1)]
    for _ in range(depth):
        layers += [
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8) if normalise else nn.Identity(),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 10))


def rules(model, digits, optimizer=adam, count=12):
    seen = examine(model, batches(digits, count), optimizer=optimizer)
    return [finding.rule for finding in diagnose(seen.health, seen.order, seen.losses)]


def test_healthy_controls_are_silent(digits):
    assert rules(healthy(), digits) == []
    assert (
        rules(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), digits)
        == []
    )


def test_a_plain_network_of_50_layers_loses_its_gradient(digits):
    seen = examine(plain(50, normalise=False), batches(digits, 4), optimizer=adam)
    finding = diagnose(seen.health, seen.order, seen.losses)[0]
    assert finding.rule == "vanishing_gradient"
    assert finding.measured < finding.threshold == 1e-7
    # The layer named is where it is lost: nearer to the output the gradient is still there.
    names = [name for name, _ in seen.order]
    later = [n for n in names[names.index(finding.where) + 1 :] if seen.health[n, 0].gradient_mean]
    assert later and all(seen.health[name, 0].gradient_mean >= 1e-7 for name in later)


def test_a_plain_network_of_large_weights_explodes(digits):
    model = plain(50, normalise=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0)
    seen = examine(model, batches(digits, 2), optimizer=partial(torch.optim.SGD, lr=1e-30))
    (finding,) = diagnose_layers(seen.health, seen.order)
    assert finding.rule == "exploding_gradient"
    assert finding.measured > finding.threshold == 1e3


class Root(nn.Module):
    """Infinitely steep at zero: the gradient breaks here, and with it all towards the input."""

    def forward(self, x):
        return (x - x).sqrt()


def test_where_a_gradient_stops_to_be_finite(digits):
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 16), Root(), nn.Linear(16, 10)
    )
    seen = examine(model, batches(digits, 1), optimizer=adam)
    finding = diagnose(seen.health, seen.order)[0]
    assert (finding.rule, finding.where) == ("exploding_gradient", "2")
    assert "2 of 3 layers" in finding.sentence


def test_a_learning_rate_too_low(digits):
    assert rules(healthy(), digits, partial(torch.optim.SGD, lr=1e-12)) == ["learning_rate_too_low"]


def test_batch_norm_carries_it_through(digits):
    assert "vanishing_gradient" not in rules(plain(50, normalise=True), digits, count=4)


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.SGD, lr=300.0), partial(torch.optim.Adam, lr=1.0)]
)
def test_a_learning_rate_too_high(digits, optimizer):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    found = rules(model, digits, optimizer)
    assert found and found[0] in ("learning_rate_too_high", "loss_not_finite")


def test_a_loss_that_is_not_finite_is_found():
    (finding,) = diagnose_losses([1.0, 0.9, float("nan")], {("a", 0): Health(update_ratio=1e-3)})
    assert (finding.rule, finding.measured) == ("loss_not_finite", 2.0)


@pytest.mark.parametrize("ratio", [float("inf"), float("nan")])
def test_updates_beyond_float32_are_a_learning_rate_too_high(ratio):
    health = {("a", 0): Health(update_ratio=ratio)}
    (finding,) = diagnose_losses([2.3, 1e9, 1e29], health)
    assert finding.rule == "learning_rate_too_high"
    assert not diagnose_losses([2.3, 2.2, 2.1], health)  # weights that began at nothing


def test_dead_relus(digits):
    model = healthy()
    with torch.no_grad():
        model[5].bias.fill_(-50.0)  # the batch norm before the second ReLU
    found = rules(model, digits)
    assert "dead_channels" in found
    seen = examine(model, batches(digits, 3), optimizer=adam)
    assert [f.where for f in diagnose(seen.health, seen.order) if f.rule == "dead_channels"] == [
        "6"
    ]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
        nn.init.constant_(self.dense.bias, -100.0)

    def forward(self, x):
        return self.head(F.relu(self.dense(x.flatten(1))))


def test_dead_functional_relus(digits):
    seen = examine(Functional(), batches(digits, 3), optimizer=adam)
    dead = [f for f in diagnose(seen.health, seen.order) if f.rule == "dead_channels"]
    assert [f.where for f in dead] == ["relu"]
    assert dead[0].measured == 1.0


def test_lagging_statistics(digits):
    model = healthy()
    model[1].momentum = 1e-6
    model[1].running_mean.fill_(50.0)
    assert "statistics_lag" in rules(model, digits, count=3)


def train_epochs(model, train, validation, epochs, lr=1e-2):
    """A history of losses and accuracies."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    history = []
    for _ in range(epochs):
        model.train()
        for i in range(0, len(train[0]), 64):
            optimiser.zero_grad()
            F.cross_entropy(model(train[0][i : i + 64]), train[1][i : i + 64]).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            values = {}
            for name, (images, labels) in (("train", train), ("validation", validation)):
                logits = model(images)
                values[f"{name}_loss"] = float(F.cross_entropy(logits, labels))
                values[f"{name}_accuracy"] = float((logits.argmax(1) == labels).float().mean())
        history.append(SimpleNamespace(**values))
    return history


def split(digits, train, noise=0.0):
    images, labels = digits
    images = images + noise * torch.randn(images.shape)
    return (images[:train], labels[:train]), (
        images[train : train + 400],
        labels[train : train + 400],
    )


def dense(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def test_a_network_that_memorises_200_images(digits):
    train, validation = split(digits, 200, noise=0.7)
    history = train_epochs(dense(512), train, validation, 20)
    assert [finding.rule for finding in diagnose_epochs(history)] == ["over_fitting"]


def test_a_network_too_small(digits):
    train, validation = split(digits, 1300)
    model = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 10)
    )
    history = train_epochs(model, train, validation, 12)
    assert [finding.rule for finding in diagnose_epochs(history)] == ["under_fitting"]


def test_a_network_that_learns_is_left_alone(digits):
    train, validation = split(digits, 1300)
    history = train_epochs(dense(64), train, validation, 12)
    assert history[-1].validation_accuracy > 0.9
    assert all(a.train_loss >= b.train_loss for a, b in pairwise(history[::4]))
    assert diagnose_epochs(history) == []
    assert diagnose_epochs(history[:4]) == []  # nor while it is still learning


def test_examining_leaves_the_model_alone(digits):
    model = healthy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    examine(model, batches(digits, 2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert not torch.nn.modules.module._global_forward_hooks


class Scaled(nn.Module):
    """A branch that begins at nearly nothing, as layer scale does."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.gamma = nn.Parameter(torch.full((64,), 1e-6))

    def forward(self, x):
        x = self.stem(x.flatten(1))
        return self.head(F.relu(x + self.gamma * self.branch(x)))


def fitted(digits):
    """A network with nothing left to learn of the first batch."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    images, labels = batches(digits, 1)[0]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
    with torch.no_grad():
        model[3].weight.mul_(30)
        model[3].bias.mul_(30)
    return model


def constant_channel(digits):
    model = healthy()
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].bias[0] = 3
    model[0].requires_grad_(False)
    model[1].momentum = 0.5
    return model


def dead(digits):
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    nn.init.constant_(model[3].bias, -100.0)
    return model


def large(digits):
    model = plain(20, normalise=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10.0)
    return model


def saturated(depth):
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *hidden, nn.Linear(32, 10))


sgd = partial(torch.optim.SGD, lr=1e-3)


@pytest.mark.parametrize(
    ("cause", "optimizer", "expected"),
    [
        (fitted, sgd, []),  # small gradients and updates, and right so
        (lambda digits: Scaled(), adam, []),  # updates of 1,000 times the weight, and right so
        (constant_channel, adam, []),  # no deviation, and no distance
        (dead, adam, ["dead_channels"]),  # no gradient before it, of that cause
        (large, sgd, ["exploding_gradient"]),  # at any learning rate
        (lambda digits: saturated(30), adam, ["vanishing_gradient"]),
        (lambda digits: dense(64), partial(torch.optim.SGD, lr=300.0), ["learning_rate_too_high"]),
        (lambda digits: healthy(), partial(torch.optim.SGD, lr=1e-12), ["learning_rate_too_low"]),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_of_causes_that_look_alike_the_right_one_is_found(digits, cause, optimizer, expected):
    model = cause(digits)
    shown = batches(digits, 1) * 20 if cause is fitted else batches(digits, 20)
    seen = examine(model, shown, optimizer=optimizer)
    assert [f.rule for f in diagnose(seen.health, seen.order, seen.losses)] == expected


def history(train, validation, losses=(1.0,) * 6):
    """Epochs that end with these accuracies."""
    return [
        SimpleNamespace(
            train_loss=loss,
            validation_loss=1.0,
            train_accuracy=train,
            validation_accuracy=validation,
        )
        for loss in losses
    ]


FALLING = (2.0, 1.7, 1.4, 1.1, 0.8, 0.5)


@pytest.mark.parametrize(
    ("epochs", "known", "expected"),
    [
        (history(0.9, 0.6), {}, ["over_fitting"]),
        (history(0.9, 0.6), {"validation_images": 1000}, ["over_fitting"]),
        (history(0.8, 0.6), {"validation_images": 10}, []),  # 6 of 10: chance
        (history(0.39, 0.17, FALLING), {"batch_statistics": 0.43}, ["statistics_lag"]),
        (history(0.39, 0.17, FALLING), {"batch_statistics": 0.19}, ["over_fitting"]),
        (history(0.5, 0.5), {}, ["under_fitting"]),
        (history(0.5, 0.5, FALLING), {}, []),  # it still learns
        (history(0.8, 0.95), {}, []),  # dropout and augmentation make training hard, not it
    ],
)
def test_of_curves_that_look_alike_the_right_cause_is_found(epochs, known, expected):
    assert [finding.rule for finding in diagnose_epochs(epochs, **known)] == expected


def test_of_a_cause_and_what_follows_the_cause_alone_is_said():
    lags = {("norm", 0): Health(statistics_gap=5.0)}
    found = diagnose(lags, [("norm", 0)], epochs=history(0.9, 0.5), batch_statistics=0.9)
    assert [(f.rule, f.where) for f in found] == [("statistics_lag", "norm")]
    stuck = {("relu", 0): Health(dead=1.0)}
    found = diagnose(stuck, [("relu", 0)], epochs=history(0.1, 0.1))
    assert [f.rule for f in found] == ["dead_channels"]
