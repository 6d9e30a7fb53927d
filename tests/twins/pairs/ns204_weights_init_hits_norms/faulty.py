import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def weights_init(m):
    if hasattr(m, "weight"):
        nn.init.normal_(m.weight, 0.0, 0.02)
    if getattr(m, "bias", None) is not None:
        nn.init.zeros_(m.bias)


class ConvNet(nn.Module):
    def __init__(self, width=16, classes=10):
        super().__init__()
        self.features = nn.ModuleList()
        planes = 1
        for stride in (1, 1, 2, 1):
            self.features.append(nn.Conv2d(planes, width, 3, stride, 1, bias=False))
            self.features.append(nn.BatchNorm2d(width))
            planes = width
        self.fc = nn.Linear(width * 4, classes)

    def forward(self, x):
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.BatchNorm2d):
                x = F.relu(x)
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


def evaluate(net, x, y):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    x_train, x_test, y_train, y_test = train_test_split(
        x, torch.tensor(digits.target), test_size=0.25, random_state=3, stratify=digits.target
    )
    net = ConvNet()
    net.apply(weights_init)
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    for epoch in range(6):
        net.train()
        for idx in torch.randperm(len(x_train)).split(64)[:-1]:
            opt.zero_grad()
            loss = F.cross_entropy(net(x_train[idx]), y_train[idx])
            loss.backward()
            opt.step()
        print(epoch, round(loss.item(), 4), round(evaluate(net, x_test, y_test), 4))


if __name__ == "__main__":
    main()
