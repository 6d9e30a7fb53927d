"""WGAN-GP on a ring of Gaussians. The critic has layer norm, since the penalty is per sample; the generator has batch norm."""
import math

import torch
from torch import autograd, nn, optim


def ring(n, modes=8):
    angle = 2 * math.pi * torch.randint(modes, (n,)) / modes
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


class Generator(nn.Module):
    def __init__(self, latent=8, hidden=64):
        super().__init__()
        self.latent = latent
        self.body = nn.Sequential(
            nn.Linear(latent, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, 2),
        )

    def sample(self, n):
        return self.body(torch.randn(n, self.latent))


class Critic(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, x):
        return self.body(x).squeeze(1)


def gradient_penalty(critic, real, fake):
    t = torch.rand(len(real), 1)
    mixed = (t * real + (1 - t) * fake).requires_grad_(True)
    (grad,) = autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return ((grad.norm(2, dim=1) - 1) ** 2).mean()


def quality(points):
    """Share of points within 3 standard deviations of a mode, and the number of modes hit."""
    angles = 2 * math.pi * torch.arange(8) / 8
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    distance, nearest = torch.cdist(points, centres).min(1)
    good = distance < 0.15 * 2
    return good.float().mean().item(), len(nearest[good].unique())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    generator, critic = Generator(), Critic()
    opt_g = optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    opt_c = optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    for step in range(300):
        for _ in range(3):
            real = ring(128)
            with torch.no_grad():
                fake = generator.sample(128)
            loss_c = critic(fake).mean() - critic(real).mean() + 0.5 * gradient_penalty(critic, real, fake)
            opt_c.zero_grad()
            loss_c.backward()
            opt_c.step()
        loss_g = -critic(generator.sample(128)).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        if step % 100 == 99:
            generator.eval()
            with torch.no_grad():
                share, modes = quality(generator.sample(1000))
            generator.train()
            print(f"step {step + 1}: critic {loss_c.item():.3f}, near a mode {share:.2f}, modes {modes}/8")
