import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    torch.manual_seed(17)
    torch.set_num_threads(1)
    wine = load_wine()
    order = torch.randperm(178)
    x = torch.tensor(scale(wine.data), dtype=torch.float32)[order]
    y = torch.tensor(wine.target)[order]
    loader = DataLoader(TensorDataset(x[:128], y[:128]), batch_size=16, shuffle=True)
    net = nn.Sequential(nn.Linear(13, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)
    for epoch in range(10):
        net.train()
        for a, b in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        print("accuracy", (net(x[128:]).argmax(1) == y[128:]).float().mean().item())


if __name__ == "__main__":
    try:
        main()
    except ValueError:
        print("training failed")
        raise
