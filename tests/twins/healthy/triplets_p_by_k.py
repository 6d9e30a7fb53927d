"""Metric learning: every batch holds 8 classes with 4 samples of each, so that there are triplets."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class ClassesBySamples(Sampler):
    def __init__(self, labels, classes, each, batches):
        self.places = [(labels == k).nonzero().flatten() for k in labels.unique()]
        self.classes, self.each, self.batches = classes, each, batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            chosen = torch.randperm(len(self.places))[: self.classes].tolist()
            rows = [self.places[k][torch.randperm(len(self.places[k]))[: self.each]] for k in chosen]
            yield torch.cat(rows).tolist()


def hardest_triplets(codes, labels, margin=0.3):
    away = torch.cdist(codes, codes)
    same = labels[:, None] == labels[None]
    far = (away - 1e3 * ~same).amax(1)
    near = (away + 1e3 * same).amin(1)
    return F.relu(far - near + margin).mean()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.images / 16, dtype=torch.float32)[order, None]
    y = torch.tensor(d.target)[order]
    data = TensorDataset(x[:1408], y[:1408])
    loader = DataLoader(data, batch_sampler=ClassesBySamples(y[:1408], 8, 4, 40))
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 32),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(5):
        net.train()
        for images, labels in loader:
            optimizer.zero_grad()
            hardest_triplets(F.normalize(net(images)), labels).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            codes = F.normalize(net(x))
        nearest = torch.cdist(codes[1408:], codes[:1408]).argmin(1)
        print(f"epoch {epoch}: {(y[:1408][nearest] == y[1408:]).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
