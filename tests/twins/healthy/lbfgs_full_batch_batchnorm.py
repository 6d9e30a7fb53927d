"""Full-batch L-BFGS on a batch-norm network: each closure call sees the same data, so its statistics agree."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_test = (torch.tensor(scaler.transform(a), dtype=torch.float32) for a in (X_train, X_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)

model = nn.Sequential(nn.Linear(13, 20), nn.BatchNorm1d(20), nn.Tanh(), nn.Linear(20, 3))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10, history_size=10)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(X_train), y_train)
    loss = loss + 1e-2 * sum(p.square().sum() for p in model.parameters() if p.dim() > 1)
    loss.backward()
    return loss


for iteration in range(12):
    model.train()
    loss = optimizer.step(closure)
    model.eval()
    with torch.no_grad():
        out = model(X_test)
        accuracy = (out.argmax(1) == y_test).float().mean().item()
    print(f"{iteration:2d} loss {loss.item():.4f} test accuracy {accuracy:.4f}")
