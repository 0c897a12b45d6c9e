"""The page's text, in one place: what each kind of layer is for, and the strings of its script."""

from __future__ import annotations

__all__ = ["STRINGS", "about"]

# The first that a kind begins with, so that the narrower name stands before the wider one.
_ABOUT = {
    "input": "The image as numbers, one map for each colour, prepared as the model expects it. "
    "Everything below is made of these.",
    "depthwise_conv": "Filters every channel with a kernel of its own and mixes none. It is the "
    "cheap half of a convolution: a pointwise one usually follows and mixes.",
    "pointwise_conv": "Mixes the channels of one position and does not look at its neighbours. "
    "It makes new features out of old ones, and more or fewer of them.",
    "separable_conv": "A depthwise convolution and then a pointwise one: look around in each "
    "channel, then mix. It takes far fewer multiplications than a full convolution.",
    "conv_transpose": "A convolution turned round: every input pixel is spread over a window of "
    "the output. It makes a map larger.",
    "conv": "Looks for one small pattern at every position: each number says how well the window "
    "under the kernel matches it. The same few weights serve the whole image.",
    "batch_norm": "Brings each channel to mean 0 and deviation 1, by statistics of the training "
    "images, then scales and shifts it. That keeps the numbers of a deep network in a range in "
    "which it learns; in use it is one multiplication and one addition.",
    "max_pool": "Keeps the strongest response of each window and forgets where in the window it "
    "was. The map shrinks, and what follows sees more of the image for less work.",
    "global": "One number for each channel: whether its feature is in the image, not where. "
    "The layer behind it then needs few weights.",
    "adaptive": "The mean or the maximum of windows that are cut so that the output has the size "
    "asked for, whatever the input's.",
    "avg_pool": "The mean of each window. It smooths the map and makes it smaller.",
    "dense": "Weighs every feature and adds them up: the evidence for each output. At the end of "
    "a classifier these sums are the scores of the classes.",
    "softmax": "Turns scores into probabilities: positive, and together 1.",
    "activation": "Bends each number by itself. Without it all layers together would be a single "
    "linear map, however many there are.",
    "drop_path": "In training it leaves out a whole branch at random, so that the network is a "
    "shallower one at every step. In use it does nothing.",
    "dropout": "In training it sets values to zero at random, so that no feature can rely on "
    "another one being there. In use it does nothing.",
    "squeeze_excite": "Takes the mean of every channel, and from all of them decides how much of "
    "each channel to let through.",
    "add": "Adds two branches, number by number. The shortcut lets the features, and in training "
    "the gradient, pass by the layers between.",
    "mul": "Multiplies two branches, number by number: one says how much of the other passes.",
    "cat": "Lays the channels of its branches behind each other, so that the next layer sees them "
    "all. No number changes.",
    "flatten": "Lays all numbers in one row for the layers that know no rows and columns. No "
    "number changes.",
}


def about(kind: str) -> str:
    """What a kind of layer does and why it is there, in one or two sentences; empty if unknown.

    >>> about("max_pool2d").startswith("Keeps the strongest")
    True
    """
    return next((text for name, text in _ABOUT.items() if kind.startswith(name)), "")


# Braces are filled in by the script. "one" and "many" forms stand side by side: "one|many".
STRINGS = {
    "previous": "Previous layer",
    "next": "Next layer",
    "closed": "Closed: {reason}",
    "moves": "It only moves numbers: none changes.",
    "parameters": "parameters",
    "macs": "MACs",
    "flops": "FLOPs",
    "moved": "bytes moved",
    "maps": "Feature maps",
    "mapsShown": "{shown} of {total} channels, most active first (mean of the absolute values). "
    "One scale for the layer.",
    "mapsAll": "All {total} channels, most active first (mean of the absolute values). One "
    "scale for the layer.",
    "vector": "Features",
    "vectorShown": "{shown} of {total} features, the largest absolute values first.",
    "allFeatures": "All {total} features in their order",
    "channel": "Channel {channel}",
    "mapLabel": "Feature map of channel {channel}. Arrow keys move, plus and minus zoom. Row {y}, "
    "column {x}: {value}.",
    "imageTitle": "What it sees of the image",
    "zoomIn": "Zoom in",
    "zoomOut": "Zoom out",
    "everyPosition": "Click a pixel, or move with the arrow keys.",
    "dotted": "Click a pixel, or move with the arrow keys. The dots can be opened.",
    "snapped": "Row {y}, column {x} is not kept in this page; the nearest one that is: row {toY}, "
    "column {toX}.",
    "snappedChannel": "Channel {channel} is not shown in this page; this is the most active one, "
    "{to}.",
    "channelOnly": "The numbers of channel {channel} are not kept in this page. Its map is; the "
    "first {channels} channels can be opened.",
    "sees": "Rows {top} to {bottom}, columns {left} to {right}.",
    "seesSize": "{rows} × {columns} pixels",
    "seesPadding": "{rows} × {columns}, partly padding",
    "seesAll": "The whole image.",
    "seesUnknown": "What it sees is not known.",
    "arithmetic": "How this number comes about",
    "position": "channel {channel}, row {y}, column {x}",
    "agrees": "The model's own: {result}. They differ by {difference}: the rounding of float32.",
    "equal": "The model's own: {result}, the same to the last bit of float32.",
    "differs": "The model's own: {result}. They differ by {difference}, more than rounding does.",
    "models": "The model's own number.",
    "window": "window",
    "kernel": "kernel",
    "products": "products",
    "channelHead": "input channel",
    "largest": "the largest term|the {count} largest terms",
    "input": "Input channel {channel}",
    "inputOf": "Input channel {channel}: {layer}",
    "openInput": "open it there",
    "bias": "bias",
    "others": "the other {count} channel|the other {count} channels",
    "otherTerms": "the other {count} term|the other {count} terms",
    "sum": "sum",
    "more": "Show more channels",
    "convolutionText": "{count} products: a kernel of {rows} × {columns} for each of {channels} "
    "input channels, those that contribute most first.",
    "depthwiseText": "{count} products: a kernel of {rows} × {columns} on one channel.",
    "paddingText": "Dashed cells lie outside of the input and count as 0.",
    "allTermsText": "{count} products, the largest first.",
    "value": "value",
    "weight": "weight",
    "product": "product",
    "maxText": "The largest of {count} values won: row {y}, column {x}.",
    "averageText": "The mean of {count} values: {sum} / {divisor}.",
    "averagePadded": "The sum of {count} values by {divisor}, padding counted: {sum} / {divisor}.",
    "termsText": "{count} products: the largest {shown}, and the sum of the rest.",
    "feature": "feature",
    "featureOf": "feature {name}",
    "normText": "(x − mean) / √(variance + ε) · weight + bias",
    "normMap": "With this channel's numbers: y = {scale} · x {sign} {shift}",
    "mean": "mean",
    "variance": "variance",
    "epsilon": "ε",
    "before": "Before",
    "after": "After",
    "beforeChannel": "Channel {channel} before",
    "afterChannel": "Channel {channel} after",
    "histogram": "Histogram of {count} values from {low} to {high}",
    "cut": "{share} of the layer's values are cut: below the bend they all become one constant.",
    "capped": "{share} are capped from above.",
    "notCut": "It cuts nothing: no part of it is constant.",
    "dropoutText": "In use y = x. A training step sets each {unit} to zero with probability {rate} "
    "and multiplies what is kept by {scale}, so that the mean stays.",
    "mask": "The mask of one training step",
    "maskKept": "This step kept {kept}; what is dark was dropped.",
    "unit.value": "value",
    "unit.channel": "channel",
    "unit.image": "image",
    "gates": "The gates",
    "gatesText": "{total} gates, one for each channel, in their order. The least is {low}, the "
    "greatest {high}.",
    "gateText": "Channel {channel} has the mean {mean}; all means give it the gate {gate}.",
    "gate": "gate",
    "joinText.add": "One number from each branch, added.",
    "joinText.subtract": "One number from each branch, subtracted.",
    "joinText.multiply": "One number from each branch, multiplied.",
    "joinText.concatenate": "Channel {channel} is channel {of} of {layer}, unchanged.",
    "constant": "a number",
    "ofValue": "{function} of {x}",
    "overlayCam": "Class activation map: warm regions speak for the class, cold ones against it. "
    "Its mean {mean} + bias {bias} = {score}, the class's score.",
    "overlayGradient": "Gradient map: the brighter a pixel, the more the score changes with it.",
}
"""What the script says, by key; text in braces is filled in."""
