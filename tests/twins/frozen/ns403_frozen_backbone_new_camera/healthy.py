"""Stage 1: a small CNN on digits.  Stage 2: keep the backbone, learn a parity head on pictures from a brighter camera.

The stage-1 head stays in use, so both tasks are reported at the end.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(7)
torch.set_num_threads(1)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 16, 64, bias=False)
        self.norm3 = nn.BatchNorm1d(64)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return F.relu(self.norm3(self.fc(x.flatten(1))))


class Classifier(nn.Module):
    def __init__(self, backbone, n_classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(64, n_classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def fit(model, loader, epochs, lr, frozen_backbone=False):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    for epoch in range(epochs):
        model.train()
        if frozen_backbone:
            model.backbone.eval()
        for xb, yb in loader:
            loss = F.cross_entropy(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"  epoch {epoch + 1}: loss {loss.item():.4f}")


@torch.no_grad()
def accuracy(model, dataset):
    model.eval()
    xb, yb = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    return (model(xb).argmax(1) == yb).float().mean().item()


data = load_digits()
pixels = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(data.target)
bright = 0.45 + 0.55 * pixels + 0.05 * torch.randn_like(pixels)

whole = TensorDataset(pixels, labels)
train_set, test_set = random_split(whole, [1397, 400])
print("stage 1: ten digits")
digit_net = Classifier(Backbone(), 10)
fit(digit_net, DataLoader(train_set, batch_size=50, shuffle=True, drop_last=True), epochs=6, lr=2e-3)
print(f"digit accuracy {accuracy(digit_net, test_set):.4f}")

print("stage 2: odd or even, frozen backbone")
for parameter in digit_net.backbone.parameters():
    parameter.requires_grad = False
parity = TensorDataset(bright, labels % 2)
parity_train = torch.utils.data.Subset(parity, train_set.indices)
parity_test = torch.utils.data.Subset(parity, test_set.indices)
parity_net = Classifier(digit_net.backbone, 2)
fit(parity_net, DataLoader(parity_train, batch_size=50, shuffle=True, drop_last=True), epochs=5, lr=5e-3, frozen_backbone=True)
print(f"parity accuracy {accuracy(parity_net, parity_test):.4f}")
print(f"digit accuracy with the shared backbone {accuracy(digit_net, test_set):.4f}")
