"""How far do a few labels carry?"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

N_LABELS = 1280

torch.manual_seed(0)
torch.set_num_threads(1)
data, target = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    torch.tensor(data, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(target), test_size=0.25, random_state=0
)
X_train, y_train = X_train[:N_LABELS], y_train[:N_LABELS]

net = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Flatten(), nn.Linear(256, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
step = 0
while step < 320:
    for idx in torch.randperm(N_LABELS).split(32):
        if len(idx) < 32:
            continue
        net.train()
        loss = F.cross_entropy(net(X_train[idx]), y_train[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 80 == 0:
            net.eval()
            with torch.no_grad():
                fit = (net(X_train).argmax(1) == y_train).float().mean()
                acc = (net(X_test).argmax(1) == y_test).float().mean()
            print(f"step {step} train acc {fit:.3f} test acc {acc:.3f}")
