"""How good a model is on images that it has not seen, and which of them it mistakes."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lamina.inspector.trace.untouched import untouched
from lamina.report.confusion import Example, png_bytes
from lamina.report.units import percent
from lamina.settings import TrainConfig
from lamina.train.batches import FixedBatches, train_loader
from lamina.train.data import Facts, ImageData, Indices

MAX_EXAMPLES = 12


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on some images.

    Args:
        loss: mean cross-entropy.
        probabilities: (N, classes), in the order of the images.
        labels: (N,).
        indices: (N,) places of the images in the data.
    """

    loss: float
    probabilities: NDArray[np.float32]
    labels: Indices
    indices: Indices

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is the right one."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    def confusion(self) -> list[list[int]]:
        """Return counts: row is the actual class, column the predicted one."""
        classes = self.probabilities.shape[1]
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (self.labels, self.probabilities.argmax(axis=1)), 1)
        return counts.tolist()


def evaluate(
    model: torch.nn.Module, data: ImageData, indices: Indices, batch_size: int
) -> Evaluation:
    """Run a model over images as they are, in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    logits = []
    with torch.no_grad():
        for images, _ in FixedBatches(data, indices, batch_size):
            logits.append(model(images.to(device)).float().cpu())
    answers, labels = torch.cat(logits), torch.from_numpy(data.labels[indices])
    return Evaluation(
        loss=functional.cross_entropy(answers, labels).item(),
        probabilities=answers.softmax(dim=1).numpy(),
        labels=data.labels[indices],
        indices=indices,
    )


def accuracy_by_batch_statistics(
    model: torch.nn.Module, data: ImageData, indices: Indices, batch_size: int
) -> float | None:
    """Return a model's accuracy where batch norm takes the statistics of the batch.

    In eval mode otherwise; nothing of the model is changed. None for a model without batch norm.
    """
    norms = [
        module
        for module in model.modules()
        if getattr(module, "track_running_stats", False) and hasattr(module, "running_var")
    ]
    if not norms:
        return None
    model.eval()
    device = next(model.parameters()).device
    # In an order of chance: a batch of one class has statistics of its own.
    mixed = np.random.default_rng(0).permutation(indices)
    right = 0
    with untouched(model, data=True), torch.no_grad():
        for norm in norms:
            norm.train()
        for images, labels in FixedBatches(data, mixed, batch_size):
            if len(labels) > 1:
                answers = model(images.to(device)).argmax(dim=1).cpu()
                right += int((answers == labels).sum())
    return right / len(mixed)


def examples(evaluation: Evaluation, data: ImageData, most: int = MAX_EXAMPLES) -> list[Example]:
    """Return the images whose right class got the least probability, the worst first."""
    right = evaluation.probabilities[np.arange(len(evaluation.labels)), evaluation.labels]
    chosen = []
    for place in right.argsort(kind="stable")[:most]:
        image = data.images[evaluation.indices[place]]
        height, width, channels = image.shape
        predicted = int(evaluation.probabilities[place].argmax())
        chosen.append(
            Example(
                png=png_bytes(image.tobytes(), width, height, channels),
                actual=data.facts.classes[evaluation.labels[place]],
                predicted=data.facts.classes[predicted],
                probability=float(evaluation.probabilities[place, predicted]),
            )
        )
    return chosen


_LEARNT = 16  # images of the first batch that a report shows


def learnt(data: ImageData, config: TrainConfig) -> list[tuple[bytes, str]]:
    """Training images as the first batch of the first epoch had them, as PNG, with their classes.

    Of blended images the two classes are told with their shares.
    """
    images, labels = next(iter(train_loader(data, replace(config, workers=0))))
    facts = data.facts
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (facts.mean, facts.deviation))
    pixels = (images * deviation + mean).mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    rows, columns, channels = pixels.shape[1:]
    return [
        (png_bytes(image.numpy().tobytes(), columns, rows, channels), _classes(label, facts))
        for image, label in zip(pixels[:_LEARNT], labels, strict=False)
    ]


def _classes(label: torch.Tensor, facts: Facts) -> str:
    if label.dim() == 0:
        return facts.classes[int(label)]
    shares, places = label.topk(2)
    both = zip(shares.tolist(), places.tolist(), strict=True)
    return ", ".join(f"{percent(s, 0)} {facts.classes[at]}" for s, at in both if s > 0.005)
