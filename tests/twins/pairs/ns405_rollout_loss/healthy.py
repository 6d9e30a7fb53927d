import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def fields(count, points=32, generator=None):
    k = torch.arange(1, 5, dtype=torch.float32)
    amplitude = torch.randn(count, 4, 1, generator=generator) / k[:, None]
    phase = 6.283 * torch.rand(count, 4, 1, generator=generator)
    grid = torch.arange(points) / points * 6.283

    def at(t):
        return (amplitude * torch.sin(k[:, None] * (grid - 0.3 * t) + phase)).sum(1, keepdim=True)

    return at(0), at(1), at(2)


class Emulator(nn.Module):
    def __init__(self, width=24, save_memory=True):
        super().__init__()
        self.core = nn.Sequential(
            nn.Conv1d(1, width, 5, padding=2, padding_mode="circular", bias=False), nn.BatchNorm1d(width), nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2, padding_mode="circular", bias=False), nn.BatchNorm1d(width), nn.GELU(),
        )
        self.out = nn.Conv1d(width, 1, 5, padding=2, padding_mode="circular")
        self.save_memory = save_memory

    def forward(self, x):
        h = checkpoint(self.core, x, use_reentrant=False) if self.save_memory and self.training else self.core(x)
        return x + self.out(h)


if __name__ == "__main__":
    torch.manual_seed(12)
    torch.set_num_threads(1)
    now, soon, later = fields(960)
    test_now, _, test_later = fields(300)
    net = Emulator(save_memory=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(4):
        net.train()
        for rows in torch.randperm(960).split(32):
            one = net(now[rows])
            two = net(one)
            loss = nn.functional.mse_loss(one, soon[rows]) + nn.functional.mse_loss(two, later[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            error = nn.functional.mse_loss(net(net(test_now)), test_later).item()
        print(f"epoch {epoch} loss {loss.item():.4f} two steps ahead {error:.4f}")
