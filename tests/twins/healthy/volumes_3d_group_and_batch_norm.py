"""3-D volumes: batch norm in the stem, where a volume gives thousands of values, group norm deeper. Batches of 16."""
import torch
import torch.nn as nn


class Volumes(torch.utils.data.Dataset):
    """A disc or a rod of random size and place, in noise."""

    def __init__(self, n, size=16, seed=0):
        g = torch.Generator().manual_seed(seed)
        grid = torch.stack(torch.meshgrid(*[torch.arange(size).float()] * 3, indexing="ij"))
        self.items = []
        for _ in range(n):
            centre = 5 + (size - 10) * torch.rand(3, 1, 1, 1, generator=g)
            radius = 2 + 1.5 * torch.rand((), generator=g)
            kind = int(torch.randint(2, (), generator=g))
            stretch = torch.tensor([1.5, 0.8, 0.8] if kind else [0.6, 1.2, 1.2]).view(3, 1, 1, 1)
            inside = ((grid - centre) / stretch).square().sum(0).sqrt() < radius
            volume = 80 + 40 * inside.float() + 15 * torch.randn(size, size, size, generator=g)
            self.items.append((volume[None], kind))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        volume, kind = self.items[i]
        return (volume - 100) / 50, kind


class Net3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv3d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool3d(2),
            nn.Conv3d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(),
        )
        self.head = nn.Linear(16, 1)

    def forward(self, v):
        return self.head(self.body(self.stem(v)).amax((2, 3, 4))).squeeze(1)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train_loader = torch.utils.data.DataLoader(Volumes(320), batch_size=16, shuffle=True, drop_last=True)
    test_loader = torch.utils.data.DataLoader(Volumes(120, seed=1), batch_size=16)
    net, bce = Net3d(), nn.BCEWithLogitsLoss()
    opt = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for epoch in range(6):
        net.train()
        for volume, kind in train_loader:
            opt.zero_grad()
            loss = bce(net(volume), kind.float())
            loss.backward()
            opt.step()
        net.eval()
        correct = 0
        with torch.inference_mode():
            for volume, kind in test_loader:
                correct += ((net(volume) > 0).long() == kind).sum().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {correct / 120:.3f}")
