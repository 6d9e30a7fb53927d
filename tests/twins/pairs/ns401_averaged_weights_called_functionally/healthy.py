"""Two-channel signals; a running mean of the weights is scored by a functional call."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

torch.set_num_threads(1)


def make(n, gen, ordered=False):
    y = torch.randint(0, 4, (n,), generator=gen)
    if ordered:
        y = y.sort().values
    t = torch.linspace(0, 1, 32)
    shift = torch.rand(n, 1, generator=gen)
    a = torch.sin(6.28 * ((1 + y[:, None] // 2) * t + shift))
    b = (1 - 2.0 * (y[:, None] % 2)) * torch.exp(-((t - 0.3 - 0.4 * shift) ** 2) * 60)
    return torch.stack([a, b], 1) + 0.5 * torch.randn(n, 2, 32, generator=gen), y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.n1 = nn.Conv1d(2, 16, 5, padding=2, bias=False), nn.BatchNorm1d(16)
        self.c2, self.n2 = nn.Conv1d(16, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.n1(self.c1(x)))
        x = F.relu(self.n2(self.c2(x)))
        return self.fc(self.drop(x.amax(-1)))


def main():
    torch.manual_seed(23)
    gen = torch.Generator().manual_seed(23)
    x, y = make(1200, gen)
    xt, yt = make(480, gen, ordered=True)
    net = Net()
    mean = {k: v.detach().clone() for k, v in net.named_parameters()}
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)

    def score():
        hits = 0
        net.eval()
        with torch.no_grad():
            for i in range(0, len(xt), 40):
                out = functional_call(net, mean, (xt[i : i + 40],))
                hits += (out.argmax(1) == yt[i : i + 40]).sum().item()
        net.train()
        return hits / len(xt)

    for epoch in range(6):
        for rows in torch.randperm(len(x), generator=gen).split(40):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                for k, v in net.named_parameters():
                    mean[k].lerp_(v, 0.1)
        print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {score():.3f}")


main()
