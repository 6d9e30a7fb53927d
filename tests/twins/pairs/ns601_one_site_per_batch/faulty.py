import argparse
import torch
from torch import nn
from sklearn.datasets import load_digits


def sites(x, y, n_sites):
    """Every site has a scanner of its own: contrast and offset differ."""
    g = torch.Generator().manual_seed(0)
    gain = torch.rand(n_sites, generator=g) * 1.5 + 0.5
    shift = torch.randn(n_sites, generator=g)
    site = torch.randint(0, n_sites, (len(x),), generator=g)
    return x * gain[site, None] + shift[site, None], y, site


class Mixed:
    def __init__(self, x, y, site, size):
        self.x, self.y, self.size = x, y, size

    def __iter__(self):
        for rows in torch.randperm(len(self.x)).split(self.size):
            if len(rows) == self.size:
                yield self.x[rows], self.y[rows]


class BySite:
    def __init__(self, x, y, site, size):
        self.x, self.y, self.site, self.size = x, y, site, size

    def __iter__(self):
        chunks = []
        for s in self.site.unique():
            rows = (self.site == s).nonzero().flatten()
            rows = rows[torch.randperm(len(rows))]
            chunks += [c for c in rows.split(self.size) if len(c) == self.size]
        for k in torch.randperm(len(chunks)).tolist():
            yield self.x[chunks[k]], self.y[chunks[k]]


def main():
    parser = argparse.ArgumentParser(description="digits from several scanners")
    parser.add_argument("--sites", default=6, type=int)
    parser.add_argument("--epochs", default=12, type=int)
    parser.add_argument("--batch-size", default=32, type=int)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x = torch.tensor(d.data / 16, dtype=torch.float32)[order]
    y = torch.tensor(d.target)[order]
    x, y, site = sites(x, y, args.sites)
    cut = 1400
    net = nn.Sequential(
        nn.Linear(64, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        net.train()
        total = right = 0
        for xb, yb in BySite(x[:cut], y[:cut], site[:cut], args.batch_size):
            optimizer.zero_grad()
            scores = net(xb)
            loss = nn.functional.cross_entropy(scores, yb)
            loss.backward()
            optimizer.step()
            right += int((scores.argmax(1) == yb).sum())
            total += len(yb)
        net.eval()
        with torch.no_grad():
            test = (net(x[cut:]).argmax(1) == y[cut:]).float().mean().item()
        print(f"epoch {epoch + 1:2d}: train {right / total:.3f}  test {test:.3f}")


if __name__ == "__main__":
    main()
