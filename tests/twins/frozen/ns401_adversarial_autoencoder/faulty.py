"""Adversarial autoencoder on digits: encoder, decoder and discriminator called separately."""
import argparse, sys
import torch
from torch import nn
from sklearn.datasets import load_digits

def block(i, o):
    return nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU())

def main():
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=15)
    p.add_argument("--latent", type=int, default=6)
    args = p.parse_args()
    torch.manual_seed(1)
    x = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    train, test = x[:1500], x[1500:]
    enc = nn.Sequential(block(64, 96), block(96, 48), nn.Linear(48, args.latent))
    dec = nn.Sequential(block(args.latent, 48), block(48, 96), nn.Linear(96, 64), nn.Sigmoid())
    disc = nn.Sequential(nn.Linear(args.latent, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    opt_ae = torch.optim.Adam([*enc.parameters(), *dec.parameters()], lr=2e-3)
    opt_d = torch.optim.Adam(disc.parameters(), lr=1e-3)
    opt_g = torch.optim.Adam(enc.parameters(), lr=5e-4)
    bce = nn.BCEWithLogitsLoss()
    for epoch in range(args.epochs):
        enc.train(); dec.train(); disc.train()
        for idx in torch.randperm(1500).split(100):
            b = train[idx]
            rec = nn.functional.mse_loss(dec(enc(b)), b)
            opt_ae.zero_grad(); rec.backward(); opt_ae.step()
            real = torch.randn(len(b), args.latent)
            fake = enc(b).detach()
            d = bce(disc(real), torch.ones(len(b), 1)) + bce(disc(fake), torch.zeros(len(b), 1))
            opt_d.zero_grad(); d.backward(); opt_d.step()
            g = 0.05 * bce(disc(enc(b)), torch.ones(len(b), 1))
            opt_g.zero_grad(); g.backward(); opt_g.step()
        with torch.no_grad():
            val = nn.functional.mse_loss(dec(enc(test)), test).item()
        if epoch % 5 == 4:
            print(f"epoch {epoch}: rec {rec.item():.4f} val {val:.4f}")
    with torch.no_grad():
        print("sampled mean", round(dec(torch.randn(16, args.latent)).mean().item(), 2))
    return 0

if __name__ == "__main__":
    sys.exit(main())
