"""Convolutional VAE on digits: batch norm in both halves, samples drawn and the bound measured in evaluation mode."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, latent=6, c=16):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.LeakyReLU(0.2),
            nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * c), nn.LeakyReLU(0.2), nn.Flatten(),
        )
        self.mu, self.log_var = nn.Linear(8 * c, latent), nn.Linear(8 * c, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 8 * c, bias=False), nn.BatchNorm1d(8 * c), nn.ReLU(), nn.Unflatten(1, (2 * c, 2, 2)),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
            nn.ConvTranspose2d(c, 1, 4, 2, 1),
        )
        self.latent = latent

    def forward(self, x):
        h = self.encoder(x)
        mu, log_var = self.mu(h), self.log_var(h).clamp(-8, 8)
        z = mu + torch.randn_like(mu) * (0.5 * log_var).exp() if self.training else mu
        return self.decoder(z), mu, log_var

    @torch.no_grad()
    def sample(self, n):
        return torch.sigmoid(self.decoder(torch.randn(n, self.latent)))


def elbo_loss(logits, x, mu, log_var):
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum()
    return (reconstruction + kl) / len(x)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.tensor(load_digits().images).float()[:, None] / 16
    train, test = x[:1440], x[1440:]
    vae = VAE()
    opt = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for epoch in range(8):
        vae.train()
        for idx in torch.randperm(len(train)).split(72):
            logits, mu, log_var = vae(train[idx])
            loss = elbo_loss(logits, train[idx], mu, log_var)
            opt.zero_grad()
            loss.backward()
            opt.step()
        vae.eval()
        with torch.no_grad():
            logits, mu, log_var = vae(test)
            bound = elbo_loss(logits, test, mu, log_var).item()
        print(f"epoch {epoch} train {loss.item():.2f} test {bound:.2f} ink in samples {vae.sample(64).mean().item():.3f} (data {x.mean().item():.3f})")


if __name__ == "__main__":
    main()
