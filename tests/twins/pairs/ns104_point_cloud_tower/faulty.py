# Which solid was this point cloud sampled from? A shared per-point network, then a maximum over the points.
import torch
import torch.nn.functional as F


def sample_clouds(n, points, gen):
    """Spheres, cubes, cylinders and cones, turned and stretched."""
    kind = torch.randint(0, 4, (n,), generator=gen)
    p = torch.randn(n, 3, points, generator=gen)
    sphere = p / p.norm(dim=1, keepdim=True)
    cube = p / p.abs().amax(1, keepdim=True)
    ring = p[:, :2] / p[:, :2].norm(dim=1, keepdim=True)
    z = torch.rand(n, 1, points, generator=gen) * 2 - 1
    cylinder = torch.cat([ring, z], 1)
    cone = torch.cat([ring * (1 - z) / 2, z], 1)
    cloud = torch.stack([sphere, cube, cylinder, cone])[kind, torch.arange(n)]
    cloud = cloud * (0.7 + 0.6 * torch.rand(n, 3, 1, generator=gen))
    q, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=gen))
    return q @ cloud + 0.02 * torch.randn(n, 3, points, generator=gen), kind


class PointNet(torch.nn.Module):
    def __init__(self, widths, classes=4):
        super().__init__()
        pairs = list(zip([3] + widths, widths))
        self.convs = torch.nn.ModuleList(torch.nn.Conv1d(i, o, 1, bias=False) for i, o in pairs)
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm1d(o) for _, o in pairs)
        self.out = torch.nn.Linear(widths[-1], classes)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
        return self.out(x.amax(2))


torch.manual_seed(2)
torch.set_num_threads(1)
gen = torch.Generator().manual_seed(2)
x, y = sample_clouds(900, 16, gen)
train_x, train_y, test_x, test_y = x[:640], y[:640], x[640:], y[640:]

net = PointNet([20] * 36)
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8)
for epoch in range(8):
    net.train()
    for idx in torch.randperm(640, generator=gen).split(40):
        loss = F.cross_entropy(net(train_x[idx]), train_y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    sched.step()
    net.eval()
    with torch.inference_mode():
        hits = (net(test_x).argmax(1) == test_y).float().mean()
    print(f"{epoch:2d} loss {loss:.3f} accuracy {hits:.3f}")
