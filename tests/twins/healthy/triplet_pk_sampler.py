"""Metric learning: batch-hard triplets from P classes x K images, retrieval on classes never seen."""
import random
from collections import defaultdict

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Sampler, TensorDataset


class PKSampler(Sampler):
    def __init__(self, labels, p, k, batches):
        self.by_class = defaultdict(list)
        for i, c in enumerate(labels.tolist()):
            self.by_class[c].append(i)
        self.p, self.k, self.batches = p, k, batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            yield [i for c in random.sample(sorted(self.by_class), self.p) for i in random.sample(self.by_class[c], self.k)]


class Embedder(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 20, 3, padding=1), nn.BatchNorm2d(20), nn.LeakyReLU(0.1),
            nn.MaxPool2d(2), nn.Conv2d(20, 40, 3, padding=1), nn.BatchNorm2d(40), nn.LeakyReLU(0.1), nn.Flatten(),
        )
        self.embed = nn.Linear(640, dim)

    def forward(self, x):
        return F.normalize(self.embed(self.cnn(x)), dim=1)


def batch_hard(z, y, margin=0.3):
    d = torch.cdist(z, z)
    same = y[:, None] == y[None]
    positive = (d * same).max(1).values
    negative = d.masked_fill(same, float("inf")).min(1).values
    return F.relu(positive - negative + margin).mean()


def recall_at_1(net, x, y):
    net.eval()
    with torch.no_grad():
        z = net(x)
    sim = z @ z.T
    sim.fill_diagonal_(-1)
    net.train()
    return (y[sim.argmax(1)] == y).float().mean().item()


def main():
    random.seed(3)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    data = load_digits()
    x, y = torch.tensor(data.images).float()[:, None] / 16, torch.tensor(data.target)
    seen = y < 7
    train = TensorDataset(x[seen], y[seen])
    loader = DataLoader(train, batch_sampler=PKSampler(y[seen], p=6, k=8, batches=25))
    net = Embedder()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    print(f"untrained recall@1 {recall_at_1(net, x[~seen], y[~seen]):.3f}")
    for epoch in range(5):
        for xb, yb in loader:
            loss = batch_hard(net(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch} loss {loss.item():.3f} recall@1 on unseen digits {recall_at_1(net, x[~seen], y[~seen]):.3f}")


if __name__ == "__main__":
    main()
