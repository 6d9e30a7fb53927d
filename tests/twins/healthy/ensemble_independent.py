import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.set_num_threads(1)
MEMBERS = 4

x, y = load_digits(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32)
y = torch.tensor(y)
x_train, y_train, x_test, y_test = x[:1200], y[:1200], x[1200:], y[1200:]


def member(seed):
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("bn0", nn.BatchNorm1d(64))
    net.add_module("fc1", nn.Linear(64, 48))
    net.add_module("bn1", nn.BatchNorm1d(48))
    net.add_module("act1", nn.GELU())
    net.add_module("fc2", nn.Linear(48, 10))
    opt = torch.optim.RMSprop(net.parameters(), lr=2e-3)
    for epoch in range(5):
        boot = torch.randint(len(x_train), (len(x_train),))  # bagging
        for idx in boot.chunk(24):
            loss = nn.functional.cross_entropy(net(x_train[idx]), y_train[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    return net.eval()


members = [member(seed) for seed in range(MEMBERS)]
with torch.inference_mode():
    probabilities = torch.stack([m(x_test).softmax(1) for m in members])
for k, p in enumerate(probabilities):
    print(f"member {k}: {(p.argmax(1) == y_test).float().mean():.4f}")
print(f"ensemble: {(probabilities.mean(0).argmax(1) == y_test).float().mean():.4f}")
