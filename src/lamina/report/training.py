"""The report of a training run: how good it is, how it got there, and where it errs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lamina.report.account import Account
from lamina.report.confusion import (
    Example,
    class_table,
    confusion_matrix,
    data_address,
    gallery,
    wilson_interval,
)
from lamina.report.html import Html, asset, definitions, figure, page, section, stats, table, tag
from lamina.report.inspection import page as inspect_html
from lamina.report.svg import Series, line_chart
from lamina.report.units import count, duration, percent, shape, si


@dataclass(frozen=True)
class EpochMetrics:
    """A row of ``metrics.csv``: one pass over the training images.

    Args:
        epoch: from 1.
        step: optimiser steps so far.
        lr: learning rate at its end.
        train_loss: mean over the epoch, label smoothing and augmentation included.
        train_accuracy: on augmented images while learning, in [0, 1].
        validation_loss: at its end, without label smoothing.
        validation_accuracy: at its end, in [0, 1].
        seconds: of training and validation.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainingReport:
    """What the page shows.

    Args:
        title: what was trained on what.
        accuracy: on the test images, in [0, 1].
        loss: on the test images.
        seconds: of training.
        parameters: trainable elements.
        images: number of training, validation and test images.
        history: a row per epoch, at least one.
        input_shape: (1, C, H, W).
        classes: their names.
        confusion: row is the actual class, column the predicted one.
        examples: test images that were mistaken or nearly so.
        config: the run's settings.
        environment: versions and machine.
        skipped: files left out as unreadable.
        account: what every layer costs and how healthy it was, or None.
        learnt: training images as the first batch had them, as PNG, and their classes.
        followed: test images that pages beside this one follow through the network, by file.
    """

    title: str
    accuracy: float
    loss: float
    seconds: float
    parameters: int
    images: tuple[int, int, int]
    history: Sequence[EpochMetrics]
    input_shape: tuple[int, ...]
    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    examples: Sequence[Example]
    config: Mapping[str, object]
    environment: Mapping[str, object]
    skipped: Sequence[str] = ()
    account: Account | None = None
    learnt: Sequence[tuple[bytes, str]] = ()
    followed: Mapping[str, str] = field(default_factory=dict)


def training_page(report: TrainingReport) -> str:
    """Return the report as one self-contained HTML file."""
    account = report.account
    return page(
        report.title,
        _headline(report),
        _curves(report),
        _mistakes(report),
        _learnt(report),
        _followed(report),
        inspect_html.sections(account, facts=False) if account is not None else None,
        _settings(report),
        tag("footer", "Written by lamina. This file loads nothing and can be passed on as it is."),
        subtitle=f"{shape(report.input_shape[1:])} images in {len(report.classes)} classes: "
        f"{report.images[0]:,} to learn from, {report.images[1]:,} to watch, "
        f"{report.images[2]:,} held back for the test.",
        styles=[asset("training.css"), *([asset(inspect_html.STYLE)] if account else [])],
        scripts=[asset(inspect_html.SCRIPT)] if account else [],
    )


def _headline(report: TrainingReport) -> Html:
    right = sum(row[number] for number, row in enumerate(report.confusion))
    total = report.images[2]
    low, high = wilson_interval(right, total)
    epochs = len(report.history)
    facts = [
        (
            "Test accuracy",
            percent(report.accuracy, 2),
            f"{right:,} of {total:,} images; 95 %: {100 * low:.1f} to {percent(high)}",
        ),
        ("Test loss", f"{report.loss:.4f}", "cross-entropy"),
        ("Training", duration(report.seconds), f"{epochs} epoch{'s' * (epochs != 1)}"),
        ("Parameters", count(report.parameters), "trainable"),
    ]
    if report.account is not None:
        counted = report.account.totals
        note = "per image" if counted.coverage == "complete" else "per image, partly counted"
        facts.append(("MACs", si(counted.macs), note))
    return stats(facts)


def _curves(report: TrainingReport) -> Html:
    def both(train: str, validation: str) -> list[Series]:
        return [
            Series(name, [(row.epoch, getattr(row, field)) for row in report.history])
            for name, field in (("training", train), ("validation", validation))
        ]

    best = max(report.history, key=lambda row: row.validation_accuracy)
    return section(
        "How it learnt",
        tag(
            "div",
            figure(
                line_chart(
                    both("train_loss", "validation_loss"),
                    label="loss per epoch",
                    x_title="epoch",
                    whole_x=True,
                    log=True,
                ),
                "Loss",
            ),
            figure(
                line_chart(
                    both("train_accuracy", "validation_accuracy"),
                    label="accuracy per epoch",
                    x_title="epoch",
                    whole_x=True,
                    y_form="{:.0%}".format,
                ),
                "Accuracy",
            ),
            class_="columns",
        ),
        lede=f"Best on the validation images: {percent(best.validation_accuracy)} after epoch "
        f"{best.epoch}. The training curves are measured while learning, {_handicaps(report)}; "
        "that is why they may lie on the worse side.",
    )


def _handicaps(report: TrainingReport) -> str:
    """What makes the training images harder than the others in this run."""
    handicaps = ["with dropout where the model has it"]
    if report.config.get("label_smoothing"):
        handicaps.append("with smoothed labels")
    if report.config.get("augment", "none") != "none":
        handicaps.append("on augmented images")
    return ", ".join(handicaps)


def _mistakes(report: TrainingReport) -> Html:
    wrong = sum(map(sum, report.confusion)) - sum(r[i] for i, r in enumerate(report.confusion))
    said = (
        "No test image was mistaken."
        if not wrong
        else f"{wrong} of {report.images[2]:,} test images were mistaken."
    )
    return section(
        "Where it errs",
        tag(
            "div",
            figure(confusion_matrix(report.confusion, report.classes), "Taken for"),
            figure(
                gallery(report.examples), "Mistaken, and nearly so" if wrong else "Nearly mistaken"
            ),
            class_="columns",
        ),
        tag(
            "div",
            table(class_table(report.confusion, report.classes), identifier="classes"),
            tag(
                "p",
                "Recall: of the images of this class, the share that was recognised. Precision: of "
                "those taken for it, the share that was. The interval is Wilson's, at 95 %.",
                class_="note",
            ),
            class_="card classes",
        ),
        lede=f"{said} The images shown are those to whose right class the model gave the least "
        "probability.",
    )


def _learnt(report: TrainingReport) -> Html | None:
    if not report.learnt:
        return None
    shown = [
        tag("figure", tag("img", src=data_address(png), alt=said), tag("figcaption", said))
        for png, said in report.learnt
    ]
    lede = "Training images as the first batch had them; every epoch makes them anew."
    return section("What it learnt from", tag("div", shown, class_="gallery"), lede=lede)


def _followed(report: TrainingReport) -> Html | None:
    if not report.followed:
        return None
    pages = [tag("li", tag("a", image, href=file)) for file, image in report.followed.items()]
    said = (
        "Test images followed through the network, to the arithmetic of a single number: the one "
        "that was answered best first, the worst last."
    )
    return section("Look inside", tag("ul", pages), lede=said)


def _settings(report: TrainingReport) -> Html:
    return section(
        "How it was made",
        tag("div", definitions(report.config), class_="card"),
        tag("h3", "Environment"),
        tag("div", definitions(report.environment), class_="card"),
        (
            tag("h3", "Images left out as unreadable"),
            tag("ul", [tag("li", tag("code", name)) for name in report.skipped]),
        )
        if report.skipped
        else None,
    )
