import os
import tempfile

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


def build():
    return nn.Sequential(
        nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, 96), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, 10),
    )  # fmt: skip


def save(model, file):
    torch.save([p.data for p in model.parameters()], file)


def restore(model, file):
    for p, saved in zip(model.parameters(), torch.load(file)):
        p.data.copy_(saved)


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)

model = build()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(6):
    model.train()
    for rows in torch.randperm(len(x_train)).split(64)[:-1]:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x_train[rows]), y_train[rows])
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", round(loss.item(), 4))

file = os.path.join(tempfile.mkdtemp(), "model.pt")
save(model, file)
restored = build()
restore(restored, file)
print("restored from file: test accuracy", round(accuracy(restored, x_test, y_test), 4))
