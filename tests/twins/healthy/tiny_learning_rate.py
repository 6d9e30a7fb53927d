# Careful run: a tiny rate on purpose. It learns slowly, the statistics keep up.
import torch, torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
to = lambda a: torch.tensor(a, dtype=torch.float32)
train_dl = DataLoader(TensorDataset(to(X_train), to(y_train)), batch_size=32, shuffle=True)   # 398 = 12*32 + 14
X_test, y_test = to(X_test), to(y_test)

model = nn.Sequential(
    nn.BatchNorm1d(30),
    nn.Linear(30, 64), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(),
    nn.Linear(64, 1),
)
opt = torch.optim.SGD(model.parameters(), lr=3e-4, momentum=0.9)
loss_fn = nn.BCEWithLogitsLoss()
for epoch in range(25):
    model.train()
    for xb, yb in train_dl:
        loss = loss_fn(model(xb).squeeze(1), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
    if epoch % 6 == 0:
        model.eval()
        with torch.no_grad():
            z = model(X_test).squeeze(1)
            print(f"epoch {epoch:2d} test loss {loss_fn(z, y_test):.3f} acc {((z > 0) == (y_test > 0.5)).float().mean():.3f}")
