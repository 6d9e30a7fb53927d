import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(15)
torch.set_num_threads(1)
real = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 64), nn.LeakyReLU(0.2),
            nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(0.2),
            nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.LeakyReLU(0.2), nn.Linear(32, 1),
        )

    def forward(self, x):
        return self.net(x).squeeze(1)


class Generator(nn.Module):
    def __init__(self, noise=16):
        super().__init__()
        self.noise = noise
        self.net = nn.Sequential(nn.Linear(noise, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())

    def forward(self, count):
        return self.net(torch.randn(count, self.noise))


class Combined:
    def __init__(self, generator, discriminator):
        self.generator, self.discriminator = generator, discriminator

    def step(self, optimizer, count):
        self.discriminator.requires_grad_(False)
        score = self.discriminator(self.generator(count))
        loss = nn.functional.softplus(-score).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self.discriminator.requires_grad_(True)
        return loss.item()


d, g = Discriminator(), Generator()
d_optimizer = torch.optim.Adam(d.parameters(), 2e-4, betas=(0.5, 0.9))
g_optimizer = torch.optim.Adam(g.parameters(), 1e-3, betas=(0.5, 0.9))
combined = Combined(g, d)
for step in range(300):
    x = real[torch.randint(0, 1500, (64,))]
    with torch.no_grad():
        fake = g(64)
    loss = nn.functional.softplus(-d(x)).mean() + nn.functional.softplus(d(fake)).mean()
    d_optimizer.zero_grad()
    loss.backward()
    d_optimizer.step()
    g_loss = combined.step(g_optimizer, 64)
    if step % 100 == 99:
        print(f"step {step + 1} d {loss.item():.3f} g {g_loss:.3f}")
d.eval()
with torch.no_grad():
    held, fake = d(real[1500:]), d(g(297))
print(f"held-out loss {(nn.functional.softplus(-held).mean() + nn.functional.softplus(fake).mean()).item():.3f}")
