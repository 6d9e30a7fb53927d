import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn

NORM = dict(eps=1e-5)


class Predictor:
    def __init__(self, seed=30):
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Linear(13, 32, bias=False), nn.BatchNorm1d(32, **NORM), nn.Tanh(),
            nn.Linear(32, 16, bias=False), nn.BatchNorm1d(16, **NORM), nn.Tanh(), nn.Linear(16, 3),
        )

    def fit(self, x, y, epochs=12):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.net.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(x[rows]), y[rows]).backward()
                optimizer.step()
        self.net.eval()
        return self

    @torch.no_grad()
    def predict(self, x):
        return self.net(x).argmax(1)


torch.set_num_threads(1)
wine = load_wine()
order = torch.randperm(178, generator=torch.Generator().manual_seed(0))
x = torch.tensor(scale(wine.data), dtype=torch.float32)[order]
y = torch.tensor(wine.target)[order]
predictor = Predictor().fit(x[:128], y[:128])
print("accuracy in one batch", (predictor.predict(x[128:]) == y[128:]).float().mean().item())
alone = torch.cat([predictor.predict(row[None]) for row in x[128:]])
print("accuracy row by row", (alone == y[128:]).float().mean().item())
