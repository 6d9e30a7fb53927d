"""The older recipe: the attack runs in training mode as well; all its forwards see the batch that is trained on."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

torch.manual_seed(4)
torch.set_num_threads(1)
EPS, ALPHA, ITERS = 0.08, 0.05, 2

d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)


def perturb(inputs, targets):
    delta = torch.zeros_like(inputs).uniform_(-EPS, EPS)
    for _ in range(ITERS):
        delta.requires_grad_()
        loss = cross_entropy(model(inputs + delta), targets)
        g = torch.autograd.grad(loss, [delta])[0]
        delta = (delta.detach() + ALPHA * g.sign()).clamp(-EPS, EPS)
    return (inputs + delta).clamp(0, 1).detach()


def report(epoch):
    model.eval()
    adv = perturb(x[1300:], y[1300:])
    with torch.no_grad():
        natural = (model(x[1300:]).argmax(1) == y[1300:]).float().mean()
        robust = (model(adv).argmax(1) == y[1300:]).float().mean()
    print(f"epoch {epoch} natural {natural:.3f} robust {robust:.3f}")


for epoch in range(5):
    model.train()
    for idx in torch.randperm(1300).split(65):
        adv = perturb(x[idx], y[idx])
        loss = 0.5 * cross_entropy(model(x[idx]), y[idx]) + 0.5 * cross_entropy(model(adv), y[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report(epoch)
