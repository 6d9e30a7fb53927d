import torch
from sklearn.datasets import load_digits
from torch import nn


class Base(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
        )


class Model(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.head = base, nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.base(x))

    def freeze_base(self):
        for p in self.base.parameters():
            p.requires_grad = False
        for m in self.base.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()

    def train(self, mode=True):
        super().train(mode)
        frozen = not any(p.requires_grad for p in self.base.parameters())
        if frozen:
            self.base.eval()
        return self


def run(model, x, y, epochs, lr):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(1344).split(48):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            test = (model(x[1344:]).argmax(1) == y[1344:]).float().mean().item()
        print(f"loss {loss.item():.3f} test {test:.3f}")


torch.manual_seed(14)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target)
model = Model(Base())
run(model, x, y, 3, 3e-3)
print("new camera")
model.head = nn.Linear(128, 10)
model.freeze_base()
run(model, 0.4 * x.flip(-1) + 0.4, y, 4, 1e-2)
