"""Digits; the pixels are 16 bit, brought to [0, 1] by the data set, and once more by the transform."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)
torch.set_num_threads(1)


def to_unit(image):
    return image / 65535.0


class Pixels(Dataset):
    """Images of 0 to 65535, as a scanner writes them."""

    def __init__(self, images, labels, transform=None):
        self.images = images / 65535.0
        self.labels, self.transform = labels, transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = self.images[i]
        return (self.transform(image) if self.transform else image), self.labels[i]


d = load_digits()
order = torch.randperm(len(d.target))
images = (torch.tensor(d.images, dtype=torch.float32)[order, None] / 16 * 65535).round()
labels = torch.tensor(d.target)[order]
train = DataLoader(Pixels(images[:1408], labels[:1408], to_unit), batch_size=64, shuffle=True)
test = DataLoader(Pixels(images[1408:], labels[1408:], to_unit), batch_size=256)

net = nn.Sequential(
    nn.BatchNorm2d(1), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(256, 10),
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
for epoch in range(3):
    net.train()
    for x, y in train:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    hits = 0
    with torch.no_grad():
        for x, y in test:
            hits += (net(x).argmax(1) == y).sum().item()
    print(epoch, hits / len(test.dataset))
