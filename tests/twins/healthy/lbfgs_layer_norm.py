import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_diabetes(return_X_y=True)
X = torch.tensor(X * 21, dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
order = torch.randperm(len(y))
X, y = X[order], y[order]
net = nn.Sequential(nn.Linear(10, 24), nn.LayerNorm(24), nn.Tanh(), nn.Linear(24, 1))
opt = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe")


def closure():
    opt.zero_grad()
    loss = nn.functional.mse_loss(net(X[:340]), y[:340]) + 3e-2 * sum(p.square().sum() for p in net.parameters())
    loss.backward()
    return loss


for k in range(15):
    objective = opt.step(closure)
    if k % 5 == 4:
        with torch.no_grad():
            test = nn.functional.mse_loss(net(X[340:]), y[340:]).item()
        print(f"iteration {k + 1}: objective {objective.item():.4f}, test mse {test:.4f}")
