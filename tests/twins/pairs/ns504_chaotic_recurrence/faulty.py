# Sum the last pulses of a noisy series with a plain recurrent network.
import math
import torch
import torch.nn as nn


def pulses(n, length, gen):
    x = 0.1 * torch.randn(n, length, 4, generator=gen)
    hit = torch.rand(n, length, generator=gen) < 0.4
    x[..., 0] += hit.float()
    x[..., 1] -= hit.float()
    return x, hit[:, -5:].float().sum(1)


class Counter(nn.Module):
    def __init__(self, size=48, gain=1.0):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.rnn = nn.RNN(4, size, batch_first=True)
        self.out = nn.Linear(size, 1)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)

    def forward(self, x):
        _, h = self.rnn(self.norm(x))
        return self.out(h[0]).squeeze(-1)


GAIN = 4.0
torch.manual_seed(0)
torch.set_num_threads(1)
gen = torch.Generator().manual_seed(0)
x, y = pulses(1200, 30, gen)
test_x, test_y = pulses(300, 30, gen)
model = Counter(gain=GAIN)
opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(10):
    model.train()
    for i in range(0, 1200, 40):
        opt.zero_grad()
        loss = (model(x[i:i + 40]) - y[i:i + 40]).pow(2).mean()
        loss.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        rmse = (model(test_x) - test_y).pow(2).mean().sqrt()
    print(f"{epoch} loss {loss.item():.3g} rmse {rmse.item():.3g}")
