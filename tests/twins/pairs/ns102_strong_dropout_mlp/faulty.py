"""Digits with a narrow MLP and a lot of dropout."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
RATE = 0.7

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.25, random_state=0)
x_train, x_test = (torch.tensor(v, dtype=torch.float32) for v in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)


def hidden(a, b):
    return [nn.Linear(a, b), nn.ReLU(), nn.Dropout(RATE), nn.BatchNorm1d(b)]


net = nn.Sequential(*hidden(64, 48), *hidden(48, 48), *hidden(48, 48), nn.Linear(48, 10))
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(18):
    net.train()
    for idx in torch.randperm(len(x_train)).split(64):
        if len(idx) < 16:
            continue
        opt.zero_grad()
        nn.functional.cross_entropy(net(x_train[idx]), y_train[idx]).backward()
        opt.step()
net.eval()
with torch.no_grad():
    print("test accuracy", (net(x_test).argmax(1) == y_test).float().mean().item())
