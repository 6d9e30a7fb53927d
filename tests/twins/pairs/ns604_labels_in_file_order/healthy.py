"""Digits from a folder of numbered files and a table of labels; the test table is read in the order of file names."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Folder(Dataset):
    def __init__(self, images, labels, names_sorted):
        numbers = [str(i) for i in range(len(images))]
        self.images = [images[int(n)] for n in numbers]
        if names_sorted:
            numbers = sorted(numbers)  # "0", "1", "10", "100", ...
        self.labels = [int(labels[int(n)]) for n in numbers]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


def conv(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(1, 16), nn.MaxPool2d(2), conv(16, 32), nn.MaxPool2d(2), conv(32, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        hits = [(net(x).argmax(1) == y).float() for x, y in loader]
    return torch.cat(hits).mean().item()


if __name__ == "__main__":
    torch.manual_seed(2)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    train = DataLoader(Folder(images[:1300], digits.target[:1300], False), 32, shuffle=True, drop_last=True)
    test = DataLoader(Folder(images[1300:], digits.target[1300:], False), 128)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for epoch in range(6):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch}: train {accuracy(net, train):.3f} test {accuracy(net, test):.3f}")
