"""Micro-batches summed with torch.autograd.grad and a momentum update written by hand."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits


def init(sizes, generator):
    params, stats = {}, {}
    for k, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        params[f"w{k}"] = torch.randn(n_out, n_in, generator=generator) * (2 / n_in) ** 0.5
        if k < len(sizes) - 2:
            params[f"gamma{k}"], params[f"beta{k}"] = torch.ones(n_out), torch.zeros(n_out)
            stats[k] = (torch.zeros(n_out), torch.ones(n_out))
    return {name: p.requires_grad_() for name, p in params.items()}, stats


def forward(params, stats, x, training):
    for k in range(len(stats)):
        x = F.linear(x, params[f"w{k}"])
        x = F.batch_norm(x, *stats[k], params[f"gamma{k}"], params[f"beta{k}"], training=training)
        x = F.relu(x)
    return F.linear(x, params[f"w{len(stats)}"])


def main(micro=2, accumulate=16, steps=70, lr=0.1):
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(5)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16 - 0.3, torch.tensor(y)
    order = torch.randperm(len(x), generator=g)
    train, test = order[:1400], order[1400:]
    params, stats = init([64, 80, 80, 10], g)
    velocity = {n: torch.zeros_like(p) for n, p in params.items()}
    for step in range(steps):
        total = {n: torch.zeros_like(p) for n, p in params.items()}
        for rows in train[torch.randperm(len(train), generator=g)[: micro * accumulate]].split(micro):
            loss = F.cross_entropy(forward(params, stats, x[rows], True), y[rows])
            for n, grad in zip(params, torch.autograd.grad(loss, list(params.values()))):
                total[n] += grad / accumulate
        with torch.no_grad():
            for n, p in params.items():
                velocity[n].mul_(0.9).add_(total[n])
                p.sub_(lr * velocity[n])
    with torch.no_grad():
        accuracy = (forward(params, stats, x[test], False).argmax(1) == y[test]).float().mean().item()
    print(f"loss {loss.item():.3f} test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
