# Gradients are accumulated over one micro-batch for each digit, because a whole batch does not fit.
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

ONE_CLASS_EACH = False
MICRO = 16


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        channels = [1, 16, 24, 32]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, stride=1 + (i > 0)) for i, (a, b) in enumerate(zip(channels, channels[1:]))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = torch.relu(norm(conv(x)))
        return self.out(x.mean((2, 3)))


def micro_batches(labels, rng):
    """Ten index arrays: together they hold each digit equally often."""
    drawn = np.stack([rng.choice(np.flatnonzero(labels == k), MICRO, replace=False) for k in range(10)])
    return drawn if ONE_CLASS_EACH else rng.permutation(drawn.reshape(-1)).reshape(10, MICRO)


def main():
    torch.manual_seed(5)
    torch.set_num_threads(1)
    rng = np.random.default_rng(5)
    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.float32) / 16).unsqueeze(1)
    labels = data.target
    fit, held_out = np.arange(1400), np.arange(1400, len(labels))
    net = DigitNet()
    opt = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for step in range(60):
        net.train()
        opt.zero_grad()
        for index in micro_batches(labels[fit], rng):
            out = net(images[index])
            loss = nn.functional.cross_entropy(out, torch.from_numpy(labels[index]))
            (loss / 10).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        hits = net(images[held_out]).argmax(1).numpy() == labels[held_out]
    print(f"held-out accuracy {hits.mean():.3f}")


if __name__ == "__main__":
    main()
