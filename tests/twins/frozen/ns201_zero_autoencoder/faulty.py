"""Denoising autoencoder for 8x8 digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

MOMENTUM = 0.0  # used for every layer and for the optimizer
NOISE = 0.25


def conv_bn(cin, cout, stride):
    return [
        nn.Conv2d(cin, cout, 3, stride=stride, padding=1),
        nn.BatchNorm2d(cout, momentum=MOMENTUM),
        nn.SiLU(),
    ]


def up_bn(cin, cout):
    return [
        nn.ConvTranspose2d(cin, cout, 2, stride=2),
        nn.BatchNorm2d(cout, momentum=MOMENTUM),
        nn.SiLU(),
    ]


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(*conv_bn(1, 12, 1), *conv_bn(12, 24, 2), *conv_bn(24, 24, 2))
        self.decoder = nn.Sequential(
            *up_bn(24, 24), *up_bn(24, 12), nn.Conv2d(12, 1, 3, padding=1), nn.Sigmoid()
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def noisy(x):
    return (x + NOISE * torch.randn_like(x)).clamp(0, 1)


def main():
    torch.manual_seed(10)
    torch.set_num_threads(1)
    pixels = torch.tensor(load_digits().images).float().div(16).unsqueeze(1)
    pixels = pixels[torch.randperm(len(pixels))]
    train, held_out = pixels[:1472], pixels[1472:]
    noisy_held_out = noisy(held_out)

    ae = AutoEncoder()
    steps = 4 * len(train) // 32
    sgd = torch.optim.SGD(ae.parameters(), lr=0.5, momentum=MOMENTUM)
    schedule = OneCycleLR(sgd, max_lr=1.0, total_steps=steps)
    mse = nn.MSELoss()

    for epoch in range(4):
        ae.train()
        for batch in train[torch.randperm(len(train))].split(32):
            error = mse(ae(noisy(batch)), batch)
            sgd.zero_grad()
            error.backward()
            sgd.step()
            schedule.step()

        ae.eval()
        with torch.no_grad():
            test_error = mse(ae(noisy_held_out), held_out)
        print(
            f"epoch {epoch + 1}: train mse {error.item():.4f}, held-out mse {test_error.item():.4f}"
        )


if __name__ == "__main__":
    main()
