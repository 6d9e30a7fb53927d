"""MNIST-style tutorial on the 8x8 digits, with batch norm after each convolution."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(nn.BatchNorm2d(16)(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(nn.BatchNorm2d(32)(self.conv2(x))), 2)
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


def train(model, loader, optimizer, epoch):
    model.train()
    for data, target in loader:
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
    print(f"Train epoch {epoch} loss {loss.item():.4f}")


def test(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for data, target in loader:
            correct += model(data).argmax(dim=1).eq(target).sum().item()
    print(f"Test accuracy {correct / len(loader.dataset):.4f}")


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    train_set = TensorDataset(images[:1400], labels[:1400])
    # the test folder is sorted: one sub-folder for each digit
    order = labels[1400:].argsort()
    test_set = TensorDataset(images[1400:][order], labels[1400:][order])
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(4):
        train(model, DataLoader(train_set, batch_size=56, shuffle=True), optimizer, epoch)
    test(model, DataLoader(test_set, batch_size=6))


if __name__ == "__main__":
    main()
