"""The networks in plain torch.nn, with torchvision's modules, names, order and initial laws.

MobileNetV1 is timm's. They are what a user has before lamina, so the tests of `lamina.optimize`
start from them too.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.fx
from torch import nn
from torch.nn import init

he_normal = partial(init.kaiming_normal_, mode="fan_out")


def draw(model, conv=he_normal, dense=None):
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            conv(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and dense is not None:
            dense(module.weight)
            init.zeros_(module.bias)


def divisible(channels):
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class ConvNormActivation(nn.Sequential):
    def __init__(self, cin, cout, kernel, stride=1, groups=1, norm=nn.BatchNorm2d, act=None):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), norm(cout)
        )
        if act is not None:
            self.append(act(inplace=True))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeezed, activation, scale_activation):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x):
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


def stochastic_depth(x, p, training):
    if not training or p == 0:
        return x
    return x * torch.empty((len(x), 1, 1, 1)).bernoulli_(1 - p).div_(1 - p)


torch.fx.wrap("stochastic_depth")


class StochasticDepth(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return stochastic_depth(x, self.p, self.training)


class VGG(nn.Module):
    def __init__(self, num_classes=1000, dropout=0.5):
        super().__init__()
        layers, cin = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(cin, width, 3, padding=1), nn.ReLU(inplace=True)]
                cin = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        draw(self, dense=partial(init.normal_, std=0.01))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, cin, width, stride=1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, cin, width, stride=1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, block, counts, num_classes=1000):
        super().__init__()
        self.inplanes = 64
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._make_layer(block, 64, counts[0], 1)
        self.layer2 = self._make_layer(block, 128, counts[1], 2)
        self.layer3 = self._make_layer(block, 256, counts[2], 2)
        self.layer4 = self._make_layer(block, 512, counts[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        draw(self, partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))

    def _make_layer(self, block, width, count, stride):
        cout, downsample = width * block.expansion, None
        if stride != 1 or self.inplanes != cout:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
            )
        blocks = [block(self.inplanes, width, stride, downsample)]
        self.inplanes = cout
        blocks += [block(cout, width) for _ in range(1, count)]
        return nn.Sequential(*blocks)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BatchNormAct2d(nn.BatchNorm2d):
    """timm's: a subclass whose forward activates."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x):
        return self.act(super().forward(x))


class DepthwiseSeparableConv(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv_dw = nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False)
        self.bn1 = BatchNormAct2d(cin)
        self.conv_pw = nn.Conv2d(cin, cout, 1, bias=False)
        self.bn2 = BatchNormAct2d(cout)

    def forward(self, x):
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))


class MobileNetV1(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = BatchNormAct2d(32)
        stages, cin = [], 32
        for count, stride, cout in (
            (1, 1, 64),
            (2, 2, 128),
            (2, 2, 256),
            (6, 2, 512),
            (2, 2, 1024),
        ):
            stage = []
            for index in range(count):
                stage.append(DepthwiseSeparableConv(cin, cout, 1 if index else stride))
                cin = cout
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(cin, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = math.prod(module.kernel_size) * module.out_channels // module.groups
                init.normal_(module.weight, 0, math.sqrt(2 / fan))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.weight.size(0))
                init.uniform_(module.weight, -bound, bound)
                init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(self.global_pool(self.blocks(self.bn1(self.conv_stem(x)))))


class InvertedResidualV2(nn.Module):
    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        hidden = cin * expand
        layers = [ConvNormActivation(cin, hidden, 1, act=nn.ReLU6)] if expand != 1 else []
        layers += [
            ConvNormActivation(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6),
            nn.Conv2d(hidden, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and cin == cout

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, num_classes=1000, width=1.0, dropout=0.2):
        super().__init__()
        cin = divisible(32 * width)
        layers = [ConvNormActivation(3, cin, 3, 2, act=nn.ReLU6)]
        for expand, channels, count, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            cout = divisible(channels * width)
            for index in range(count):
                layers.append(InvertedResidualV2(cin, cout, 1 if index else stride, expand))
                cin = cout
        last = divisible(1280 * max(1.0, width))
        layers.append(ConvNormActivation(cin, last, 1, act=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        draw(self, dense=partial(init.normal_, std=0.01))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class InvertedResidualV3(nn.Module):
    def __init__(self, cin, kernel, expanded, cout, squeezes, act, stride, norm):
        super().__init__()
        layers = []
        if expanded != cin:
            layers.append(ConvNormActivation(cin, expanded, 1, norm=norm, act=act))
        layers.append(
            ConvNormActivation(expanded, expanded, kernel, stride, expanded, norm=norm, act=act)
        )
        if squeezes:
            squeezed = divisible(expanded // 4)
            layers.append(SqueezeExcitation(expanded, squeezed, nn.ReLU, nn.Hardsigmoid))
        layers.append(ConvNormActivation(expanded, cout, 1, norm=norm))
        self.block = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and cin == cout

    def forward(self, x):
        result = self.block(x)
        if self.use_res_connect:
            result += x
        return result


V3_LARGE = """3 16 16 - R 1, 3 64 24 - R 2, 3 72 24 - R 1, 5 72 40 S R 2, 5 120 40 S R 1,
    5 120 40 S R 1, 3 240 80 - H 2, 3 200 80 - H 1, 3 184 80 - H 1, 3 184 80 - H 1, 3 480 112 S H 1,
    3 672 112 S H 1, 5 672 160 S H 2, 5 960 160 S H 1, 5 960 160 S H 1"""
V3_SMALL = """3 16 16 S R 2, 3 72 24 - R 2, 3 88 24 - R 1, 5 96 40 S H 2, 5 240 40 S H 1,
    5 240 40 S H 1, 5 120 48 S H 1, 5 144 48 S H 1, 5 288 96 S H 2, 5 576 96 S H 1,
    5 576 96 S H 1"""


class MobileNetV3(nn.Module):
    def __init__(self, table, last, num_classes=1000, width=1.0, dropout=0.2):
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        cin = divisible(16 * width)
        layers = [ConvNormActivation(3, cin, 3, 2, norm=norm, act=nn.Hardswish)]
        for row in table.split(","):
            kernel, expanded, channels, squeezes, act, stride = row.split()
            cout = divisible(int(channels) * width)
            layers.append(
                InvertedResidualV3(
                    cin,
                    int(kernel),
                    divisible(int(expanded) * width),
                    cout,
                    squeezes == "S",
                    nn.Hardswish if act == "H" else nn.ReLU,
                    int(stride),
                    norm,
                )
            )
            cin = cout
        layers.append(ConvNormActivation(cin, 6 * cin, 1, norm=norm, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = divisible(last * width)
        self.classifier = nn.Sequential(
            nn.Linear(6 * cin, last),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(last, num_classes),
        )
        draw(self, dense=partial(init.normal_, std=0.01))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class MBConv(nn.Module):
    def __init__(self, cin, cout, kernel, stride, expand, drop):
        super().__init__()
        expanded, layers = divisible(cin * expand), []
        if expanded != cin:
            layers.append(ConvNormActivation(cin, expanded, 1, act=nn.SiLU))
        layers += [
            ConvNormActivation(expanded, expanded, kernel, stride, expanded, act=nn.SiLU),
            SqueezeExcitation(
                expanded, max(1, cin // 4), partial(nn.SiLU, inplace=True), nn.Sigmoid
            ),
            ConvNormActivation(expanded, cout, 1),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop)
        self.use_res_connect = stride == 1 and cin == cout

    def forward(self, x):
        result = self.block(x)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += x
        return result


class EfficientNet(nn.Module):
    def __init__(self, num_classes=1000, width=1.0, dropout=0.2, drop_path=0.2):
        super().__init__()
        cin, made = divisible(32 * width), 0
        features = [ConvNormActivation(3, cin, 3, 2, act=nn.SiLU)]
        for expand, kernel, stride, channels, count in (
            (1, 3, 1, 16, 1),
            (6, 3, 2, 24, 2),
            (6, 5, 2, 40, 2),
            (6, 3, 2, 80, 3),
            (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4),
            (6, 3, 1, 320, 1),
        ):
            cout, stage = divisible(channels * width), []
            for index in range(count):
                drop = drop_path * made / 16
                stage.append(MBConv(cin, cout, kernel, 1 if index else stride, expand, drop))
                cin, made = cout, made + 1
            features.append(nn.Sequential(*stage))
        features.append(ConvNormActivation(cin, 4 * cin, 1, act=nn.SiLU))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, inplace=True), nn.Linear(4 * cin, num_classes)
        )
        bound = 1 / math.sqrt(num_classes)
        draw(self, dense=lambda weight: init.uniform_(weight, -bound, bound))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


DEFINITIONS = {
    "efficientnet_b0": EfficientNet,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": partial(MobileNetV3, V3_LARGE, 1280),
    "mobilenet_v3_small": partial(MobileNetV3, V3_SMALL, 1024),
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3)),
    "vgg16": VGG,
}
