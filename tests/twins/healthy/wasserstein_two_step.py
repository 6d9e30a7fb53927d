import torch
from torch import nn, autograd
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

torch.manual_seed(4)
torch.set_num_threads(1)
table = torch.tensor(StandardScaler().fit_transform(load_wine().data), dtype=torch.float32)
LATENT, BATCH, N_CRITIC, GP = 8, 64, 3, 10.0

generator = nn.Sequential(
    nn.Linear(LATENT, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 13),
)
critic = nn.Sequential(nn.Linear(13, 64), nn.LayerNorm(64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LayerNorm(64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))


def penalty(real, fake):
    mix = torch.rand(len(real), 1)
    point = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = autograd.grad(critic(point).sum(), point, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


for iteration in range(90):
    for _ in range(N_CRITIC):
        real = table[torch.randint(0, len(table), (BATCH,))]
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, LATENT))
        loss_c = critic(fake).mean() - critic(real).mean() + GP * penalty(real, fake)
        opt_c.zero_grad()
        loss_c.backward()
        opt_c.step()
    loss_g = -critic(generator(torch.randn(BATCH, LATENT))).mean()
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    if iteration % 30 == 29:
        print(f"{iteration + 1}: critic {loss_c.item():.3f} generator {loss_g.item():.3f}")

generator.eval()
with torch.no_grad():
    made = generator(torch.randn(500, LATENT))
print(f"distance of the means {(made.mean(0) - table.mean(0)).norm().item():.3f}")
