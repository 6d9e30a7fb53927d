"""SimSiam on digits with a k-nearest-neighbour test of the features."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target)


def augment(b):
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    b = torch.roll(b, (dx, dy), (2, 3))
    return (b + 0.15 * torch.randn_like(b)) * (0.7 + 0.6 * torch.rand(len(b), 1, 1, 1))


class SimSiam(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, d, bias=False), nn.BatchNorm1d(d), nn.ReLU(),
            nn.Linear(d, d, bias=False), nn.BatchNorm1d(d, affine=False),
        )
        self.predictor = nn.Sequential(nn.Linear(d, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, d))

    def forward(self, a, b):
        za, zb = self.encoder(a), self.encoder(b)
        return self.predictor(za), self.predictor(zb), za.detach(), zb.detach()


def knn(model):
    model.eval()
    with torch.no_grad():
        f = F.normalize(model.encoder[:8](x).flatten(1), dim=1)
    near = (f[1400:] @ f[:1400].T).topk(5).indices
    return (y[:1400][near].mode(1).values == y[1400:]).float().mean().item()


model = SimSiam()
opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
for epoch in range(4):
    model.train()
    for idx in torch.randperm(1400)[:1344].split(64):
        p1, p2, z1, z2 = model(augment(x[idx]), augment(x[idx]))
        loss = -(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"epoch {epoch} loss {loss.item():.3f} std {F.normalize(z1, dim=1).std(0).mean().item():.4f} knn {knn(model):.3f}")
