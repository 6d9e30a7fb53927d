"""The networks of the benchmark: name → how to build it, batch size, shape of a sample."""

from torch import nn


def mlp(inputs, width):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 10)
    )


def cnn():
    layers, width = [], 3
    for i, wide in enumerate((32, 32, 64, 64)):
        layers += [
            nn.Conv2d(width, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
        ]
        layers += [nn.MaxPool2d(2)] if i % 2 else []
        width = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def convolution(width, wide, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(width, wide, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(wide)
    )


class Residual(nn.Module):
    def __init__(self, body, skip):
        super().__init__()
        self.body, self.skip, self.relu = body, skip, nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.body(x) + self.skip(x))


def basic(width, wide, stride):
    body = nn.Sequential(
        convolution(width, wide, 3, stride), nn.ReLU(inplace=True), convolution(wide, wide, 3)
    )
    same = stride == 1 and width == wide
    return Residual(body, nn.Identity() if same else convolution(width, wide, 1, stride)), wide


def bottleneck(width, narrow, stride):
    wide = 4 * narrow
    body = nn.Sequential(
        convolution(width, narrow, 1),
        nn.ReLU(inplace=True),
        convolution(narrow, narrow, 3, stride),
        nn.ReLU(inplace=True),
        convolution(narrow, wide, 1),
    )
    same = stride == 1 and width == wide
    return Residual(body, nn.Identity() if same else convolution(width, wide, 1, stride)), wide


def resnet(block, depths):
    """He et al. 2016, table 1, with ten classes."""
    layers, width = [convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            layer, width = block(width, 64 << stage, 2 if stage and not i else 1)
            layers.append(layer)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


MODELS = {
    "MLP 32-64-10": (lambda: mlp(32, 64), 32, (32,)),
    "MLP 784-256-10": (lambda: mlp(784, 256), 64, (784,)),
    "CNN 32×32": (cnn, 32, (3, 32, 32)),
    "ResNet-18 64×64": (lambda: resnet(basic, (2, 2, 2, 2)), 16, (3, 64, 64)),
    "ResNet-50 64×64": (lambda: resnet(bottleneck, (3, 4, 6, 3)), 16, (3, 64, 64)),
}
