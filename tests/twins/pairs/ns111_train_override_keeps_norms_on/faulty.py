# Fine-tuning on a new scanner: the backbone is frozen, only its norms and the head adapt.
import torch
from sklearn.datasets import load_digits
from torch import nn


class Backbone(nn.Sequential):
    """Weights stay fixed after freeze(); the norms go on learning."""

    frozen = False

    def freeze(self):
        self.frozen = True
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.requires_grad_(False)
        return self

    def train(self, mode=True):
        super().train(mode and not self.frozen)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.train()
        return self


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone(
            nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.backbone(x).flatten(1))


def run(model, x, y, steps, lr):
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=lr)
    model.train()
    for _ in range(steps):
        pick = torch.randperm(len(x))[:64]
        loss = nn.CrossEntropyLoss()(model(x[pick]), y[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def per_class(model, x, y):
    """One batch for each digit, as the report lists them."""
    model.eval()
    with torch.no_grad():
        return torch.stack([(model(x[y == c]).argmax(1) == c).float().mean() for c in range(10)])


if __name__ == "__main__":
    torch.manual_seed(12)
    torch.set_num_threads(1)
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(data.target)
    order = torch.randperm(len(x))
    old, new, test = order[:900], order[900:1400], order[1400:]
    model = Net()
    run(model, x[old], y[old], steps=150, lr=3e-3)
    model.backbone.freeze()
    scanner = lambda images: 0.3 + 0.5 * images.flip(-1)
    run(model, scanner(x[new]), y[new], steps=120, lr=3e-3)
    recalls = per_class(model, scanner(x[test]), y[test])
    print("recall by digit", " ".join(f"{r:.2f}" for r in recalls))
    print(f"balanced accuracy {recalls.mean():.3f}")
