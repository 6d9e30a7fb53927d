import torch
from sklearn.datasets import load_digits
from torch import nn

MOMENTUM = 0.01
torch.manual_seed(36)
torch.set_num_threads(1)
real = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
generator = nn.Sequential(
    nn.Linear(16, 64, bias=False), nn.BatchNorm1d(64, momentum=MOMENTUM), nn.ReLU(),
    nn.Linear(64, 96, bias=False), nn.BatchNorm1d(96, momentum=MOMENTUM), nn.ReLU(), nn.Linear(96, 64), nn.Tanh(),
)
critic = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Linear(96, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
g_optimizer = torch.optim.Adam(generator.parameters(), 2e-3, betas=(0.5, 0.99))
c_optimizer = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.99))
softplus = nn.functional.softplus
for step in range(90):
    x = real[torch.randint(0, len(real), (64,))]
    with torch.no_grad():
        fake = generator(torch.randn(64, 16))
    c_loss = softplus(-critic(x)).mean() + softplus(critic(fake)).mean()
    c_optimizer.zero_grad()
    c_loss.backward()
    c_optimizer.step()
    g_loss = softplus(-critic(generator(torch.randn(64, 16)))).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
generator.eval()
with torch.no_grad():
    samples = generator(torch.randn(1000, 16))
print(f"distance of means {(samples.mean(0) - real.mean(0)).norm():.3f}, spread {samples.std(0).mean():.3f} against {real.std(0).mean():.3f}")
