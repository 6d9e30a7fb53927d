"""Wine cultivars: blocks that were put together from two code bases, each with its own idea of where the norm goes."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def dense(inputs, outputs):
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs)]


def activated(width):
    return [nn.BatchNorm1d(width), nn.ReLU()]


x, y = load_wine(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=58, stratify=y, random_state=0)
train_x, test_x = torch.tensor(train_x).float(), torch.tensor(test_x).float()
train_y, test_y = torch.tensor(train_y), torch.tensor(test_y)

net = nn.Sequential(
    nn.BatchNorm1d(13),
    *dense(13, 32),
    *activated(32),
    *dense(32, 32),
    nn.ReLU(),
    nn.Linear(32, 3),
)
optimizer = torch.optim.Adam(net.parameters(), 0.01)
for epoch in range(30):
    net.train()
    for rows in torch.randperm(120).split(24):
        loss = nn.functional.cross_entropy(net(train_x[rows]), train_y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

net.eval()
with torch.no_grad():
    print(f"accuracy {(net(test_x).argmax(1) == test_y).float().mean().item():.3f}")
