"""Digits on a small GPU: the paper used batches of 32, and they fit."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(1)
torch.set_num_threads(1)
MICRO, ACCUM = 32, 1

digits = load_digits()
data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
train_set, test_set = random_split(data, [1440, 357])
train_loader = DataLoader(train_set, batch_size=MICRO, shuffle=True, drop_last=True)
test_loader = DataLoader(test_set, batch_size=119)

model = nn.Sequential(
    nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for epoch in range(3):
    model.train()
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / ACCUM
        loss.backward()
        if (i + 1) % ACCUM == 0:
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in test_loader:
            correct += (model(x).argmax(1) == y).sum().item()
    print(f"epoch {epoch}: loss {loss.item() * ACCUM:.3f}, test accuracy {correct / len(test_set):.3f}")
