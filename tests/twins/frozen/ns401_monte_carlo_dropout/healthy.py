"""Monte Carlo dropout: the dropout layers stay stochastic at test time, everything else is in eval mode."""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
data = load_diabetes()
x = torch.tensor(data.data, dtype=torch.float32) * 20
y = torch.tensor((data.target - 152) / 77, dtype=torch.float32)[:, None]
train, test = slice(0, 352), slice(352, None)
net = nn.Sequential(
    nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2),
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-3)


def sample_predictions(inputs, times=30):
    net.eval()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    with torch.no_grad():
        draws = torch.stack([net(inputs) for _ in range(times)])
    return draws.mean(0), draws.std(0)


for epoch in range(40):
    net.train()
    for rows in torch.randperm(352).split(32):
        loss = nn.functional.mse_loss(net(x[train][rows]), y[train][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        mean, spread = sample_predictions(x[test])
        inside = ((mean - y[test]).abs() < 2 * spread).float().mean()
        print(f"{epoch + 1}: mse {nn.functional.mse_loss(mean, y[test]):.3f} spread {spread.mean():.3f} within two {inside:.2f}")
