import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.float16 if device == "cuda" else torch.bfloat16

X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32, device=device).reshape(-1, 1, 8, 8).div_(16)
y = torch.tensor(y, device=device)
order = torch.randperm(len(X))
train_idx, test_idx = order[:1408], order[1408:]

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Flatten(), nn.Linear(512, 10),
).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
criterion = nn.CrossEntropyLoss()

for epoch in range(5):
    model.train()
    perm = train_idx[torch.randperm(len(train_idx))]
    for idx in perm.split(64):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type=device, dtype=dtype):
            loss = criterion(model(X[idx]), y[idx])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
    model.eval()
    with torch.no_grad(), torch.autocast(device_type=device, dtype=dtype):
        acc = (model(X[test_idx]).argmax(1) == y[test_idx]).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.4f} acc {acc.item():.4f} scale {scaler.get_scale():.0f}")
