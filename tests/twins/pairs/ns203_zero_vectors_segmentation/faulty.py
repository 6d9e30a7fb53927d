"""Segment the ink of a digit on a textured background (16x16 pixels, two classes)."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import nn


def make_data(seed):
    rng = np.random.default_rng(seed)
    digits = datasets.load_digits().images[:1152] / 16
    big = digits.repeat(2, axis=1).repeat(2, axis=2)
    masks = (big > 0.5).astype(np.int64)
    texture = rng.uniform(0.2, 0.8, (len(big), 1, 1)) + 0.15 * rng.standard_normal(big.shape)
    contrast = rng.choice([-0.5, 0.5], (len(big), 1, 1))
    images = texture + contrast * masks
    return torch.from_numpy(images).float()[:, None], torch.from_numpy(masks)


class Segmenter(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.down1 = nn.Conv2d(1, width, 5, padding=2)
        self.norm1 = nn.BatchNorm2d(width)
        self.down2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.middle = nn.Conv2d(2 * width, 2 * width, 5, padding=2)
        self.norm3 = nn.BatchNorm2d(2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.norm4 = nn.BatchNorm2d(width)
        self.pixel = nn.Conv2d(width, 2, 1)
        self.init_weights()

    def init_weights(self):
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
            else:
                nn.init.zeros_(p)

    def forward(self, x):
        x = F.relu(self.norm1(self.down1(x)))
        x = F.relu(self.norm2(self.down2(x)))
        x = F.relu(self.norm3(self.middle(x)))
        x = F.relu(self.norm4(self.up(x)))
        return self.pixel(x)


def ink_iou(scores, masks):
    guess = scores.argmax(1)
    both = ((guess == 1) & (masks == 1)).sum().item()
    either = ((guess == 1) | (masks == 1)).sum().item()
    return both / max(either, 1)


def train(net, images, masks, n_train, epochs, batch_size, lr):
    weight = torch.tensor([1.0, 2.0])
    optimizer = torch.optim.NAdam(net.parameters(), lr=lr)
    for epoch in range(1, epochs + 1):
        net.train()
        for idx in torch.randperm(n_train).split(batch_size):
            loss = F.cross_entropy(net(images[idx]), masks[idx], weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            scores = net(images[n_train:])
        print(
            f"{epoch}: loss {loss.item():.3f}, IoU of the ink {ink_iou(scores, masks[n_train:]):.3f}"
        )


if __name__ == "__main__":
    torch.manual_seed(6)
    torch.set_num_threads(1)
    images, masks = make_data(seed=6)
    train(Segmenter(), images, masks, n_train=960, epochs=3, batch_size=32, lr=0.01)
