"""Multi-label tagging with BCE: which of five digits stand in a 2 x 2 collage? Macro F1, own metric class."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Collages(Dataset):
    def __init__(self, images, targets, n, seed):
        g = torch.Generator().manual_seed(seed)
        picks = torch.randint(len(images), (n, 4), generator=g)
        t = images[picks]
        self.x = torch.cat([torch.cat([t[:, 0], t[:, 1]], 2), torch.cat([t[:, 2], t[:, 3]], 2)], 1)[:, None]
        self.y = torch.stack([(targets[picks] == k).any(1) for k in range(5)], 1).float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class F1:
    """Accumulates counts over batches, as metric libraries do."""

    def __init__(self, labels):
        self.tp = torch.zeros(labels)
        self.wrong = torch.zeros(labels)

    def update(self, predicted, target):
        self.tp += (predicted * target).sum(0)
        self.wrong += (predicted != target).float().sum(0)
        return self

    def compute(self):
        return (2 * self.tp / (2 * self.tp + self.wrong).clamp(min=1)).mean().item()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    images, targets = torch.tensor(d.images).float() / 16, torch.tensor(d.target)
    train = DataLoader(Collages(images[:1300], targets[:1300], 1600, 1), batch_size=64, shuffle=True, drop_last=False)
    test = DataLoader(Collages(images[1300:], targets[1300:], 400, 2), batch_size=64)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 5),
    )
    bce = nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 1.5))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(6):
        net.train()
        for x, y in train:
            loss = bce(net(x), y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
        net.eval()
        metric = F1(5)
        with torch.no_grad():
            for x, y in test:
                metric.update((net(x) > 0).float(), y)
        print(f"epoch {epoch} loss {loss.item():.3f} macro F1 {metric.compute():.3f}")


if __name__ == "__main__":
    main()
