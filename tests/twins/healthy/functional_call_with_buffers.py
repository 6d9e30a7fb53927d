"""Functional training with torch.func.functional_call: parameters and buffers live in dictionaries, the buffers move too."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call

torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X).float() / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 80, bias=False), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 80, bias=False), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 10))
params = {k: v.detach().clone().requires_grad_(True) for k, v in model.named_parameters()}
buffers = {k: v.detach().clone() for k, v in model.named_buffers()}
velocity = {k: torch.zeros_like(v) for k, v in params.items()}


def loss_fn(params, x, y):
    model.train()
    out = functional_call(model, (params, buffers), (x,))
    return nn.functional.cross_entropy(out, y)


def sgd(params, grads, lr, momentum=0.9):
    with torch.no_grad():
        for (name, p), g in zip(params.items(), grads):
            velocity[name].mul_(momentum).add_(g)
            p.sub_(lr * velocity[name])


def evaluate(x, y):
    model.eval()
    with torch.no_grad():
        return (functional_call(model, (params, buffers), (x,)).argmax(1) == y).float().mean().item()


for epoch in range(8):
    for idx in torch.randperm(1300).split(65):
        loss = loss_fn(params, X[idx], y[idx])
        sgd(params, torch.autograd.grad(loss, list(params.values())), lr=0.05 * 0.8**epoch)
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {evaluate(X[1300:], y[1300:]):.4f}")
