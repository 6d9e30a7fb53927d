"""1-D convolutions on synthetic tones (chirps, hums, beats), with mixup and label smoothing."""
import numpy as np, torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(9); torch.set_num_threads(1)
rng = np.random.default_rng(9)

def clip(kind, n=512):
    t = np.linspace(0, 1, n)
    f = rng.uniform(8, 20)
    if kind == 0: wave = np.sin(2 * np.pi * (f + 25 * t) * t)                    # rising chirp
    elif kind == 1: wave = np.sin(2 * np.pi * (f + 25 * (1 - t)) * t)            # falling chirp
    elif kind == 2: wave = np.sign(np.sin(2 * np.pi * f * t))                    # square hum
    else: wave = np.sin(2 * np.pi * f * t) * np.sin(2 * np.pi * (f / 5) * t)     # beat
    return 0.5 * wave + 0.3 * rng.standard_normal(n)

labels = rng.integers(0, 4, 900)
waves = torch.tensor(np.stack([clip(k) for k in labels]), dtype=torch.float32)[:, None]
labels = torch.tensor(labels)

def block(i, o, k, s):
    return [nn.Conv1d(i, o, k, stride=s, padding=k // 2, bias=False), nn.BatchNorm1d(o), nn.ReLU()]

net = nn.Sequential(*block(1, 16, 31, 4), *block(16, 32, 7, 2), nn.MaxPool1d(2), *block(32, 32, 5, 2),
                    nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4))
opt = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
beta = torch.distributions.Beta(0.4, 0.4)

for epoch in range(8):
    net.train()
    for idx in torch.randperm(600).split(40):
        x, y = waves[idx], labels[idx]
        lam, perm = beta.sample(), torch.randperm(len(idx))
        out = net(lam * x + (1 - lam) * x[perm])
        loss = lam * F.cross_entropy(out, y, label_smoothing=0.1) + (1 - lam) * F.cross_entropy(out, y[perm], label_smoothing=0.1)
        opt.zero_grad(); loss.backward(); opt.step()
    net.eval()
    with torch.no_grad():
        acc = (net(waves[600:]).argmax(1) == labels[600:]).float().mean().item()
    print(f'epoch {epoch} loss {loss.item():.3f} accuracy {acc:.3f}')
