"""Train with torch.func: parameters and buffers live in dicts, gradients come from grad_and_value-like code."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch.func import functional_call


def init(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.BatchNorm1d(13),
        nn.Linear(13, 40),
        nn.BatchNorm1d(40),
        nn.ELU(),
        nn.Linear(40, 3),
    )


def loss_of(net, weights, stats, x, y):
    return F.cross_entropy(functional_call(net, (weights, stats), (x,)), y)


def sgd(weights, gradients, velocity, lr, mu=0.9):
    for (name, w), g in zip(weights.items(), gradients):
        velocity[name] = mu * velocity[name] + g
        weights[name] = (w - lr * velocity[name]).detach().requires_grad_()


def main(seed=0, epochs=40):
    torch.set_num_threads(1)
    x, y = load_wine(return_X_y=True)
    xa, xb, ya, yb = train_test_split(x, y, train_size=120, random_state=seed, stratify=y)
    xa, xb = torch.as_tensor(xa).float(), torch.as_tensor(xb).float()
    ya, yb = torch.as_tensor(ya), torch.as_tensor(yb)
    net = init(seed)
    weights = {n: p.detach().clone().requires_grad_() for n, p in net.named_parameters()}
    stats = {n: b.detach().clone() for n, b in net.named_buffers()}
    velocity = {n: torch.zeros_like(p) for n, p in weights.items()}
    for epoch in range(epochs):
        net.train()
        for part in torch.randperm(120).chunk(4):
            loss = loss_of(net, weights, stats, xa[part], ya[part])
            sgd(weights, torch.autograd.grad(loss, list(weights.values())), velocity, lr=0.01)
        net.eval()
        with torch.no_grad():
            logits = functional_call(net, (weights, stats), (xb,))
        if epoch % 8 == 7:
            print(f"epoch {epoch + 1:2d}  loss {loss.item():.3f}  test accuracy {(logits.argmax(1) == yb).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
