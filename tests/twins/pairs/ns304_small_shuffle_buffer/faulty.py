# Samples are streamed from an archive (class after class, as it was packed) through a shuffle buffer.
import itertools
import random

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Archive(IterableDataset):
    def __init__(self, samples, buffer_size, seed=0):
        self.samples = samples
        self.buffer_size = buffer_size
        self.rng = random.Random(seed)

    def __iter__(self):
        stream = iter(self.samples)
        buffer = list(itertools.islice(stream, self.buffer_size))
        for sample in stream:
            k = self.rng.randrange(len(buffer))
            buffer[k], sample = sample, buffer[k]
            yield sample
        self.rng.shuffle(buffer)
        yield from buffer


def pack(images, labels):
    for c in range(10):
        for image in images[labels == c]:
            yield image, c


BUFFER = 40

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    raw = load_digits()
    images = torch.tensor(raw.images / 16, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(raw.target)
    held_out = torch.arange(len(images)) % 4 == 0
    archive = Archive(list(pack(images[~held_out], labels[~held_out])), buffer_size=BUFFER)
    loader = DataLoader(archive, batch_size=32, drop_last=True)

    def conv(c_in, c_out, **kw):
        return nn.Sequential(nn.Conv2d(c_in, c_out, 3, bias=False, **kw), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))

    net = nn.Sequential(conv(1, 16, padding=1), conv(16, 32, stride=2), conv(32, 32), nn.Flatten(), nn.Linear(32, 10))
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    for epoch in range(6):
        net.train()
        for xb, yb in loader:
            loss = nn.functional.cross_entropy(net(xb), yb, label_smoothing=0.1)
            opt.zero_grad()
            loss.backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            hits = net(images[held_out]).argmax(1) == labels[held_out]
        print(f"epoch {epoch} held-out accuracy {hits.float().mean():.3f}")
