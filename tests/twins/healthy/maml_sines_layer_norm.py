"""MAML on few-shot sine regression with torch.func; layer norm, so that no statistics cross from task to task."""
import math

import torch
from torch import nn
from torch.func import functional_call, grad, vmap


def tasks(n, shots):
    amplitude, phase = 0.5 + 2.5 * torch.rand(n, 1, 1), math.pi * torch.rand(n, 1, 1)
    x = 10 * torch.rand(n, 2 * shots, 1) - 5
    y = amplitude * torch.sin(x + phase)
    return x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:]


net = nn.Sequential(nn.Linear(1, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 1))


def loss(params, x, y):
    return (functional_call(net, params, (x,)) - y).square().mean()


def adapt(params, x, y, steps, lr=0.02):
    for _ in range(steps):
        g = grad(loss)(params, x, y)
        params = {k: p - lr * g[k] for k, p in params.items()}
    return params


def task_loss(params, xs, ys, xq, yq, steps):
    return loss(adapt(params, xs, ys, steps), xq, yq)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 350)
    over_tasks = vmap(task_loss, in_dims=(None, 0, 0, 0, 0, None))
    for it in range(350):
        params = dict(net.named_parameters())
        meta = over_tasks(params, *tasks(25, 10), 1).mean()
        opt.zero_grad()
        meta.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        opt.step()
        sched.step()
        if (it + 1) % 100 == 0:
            test = tasks(100, 10)
            fixed = {k: p.detach() for k, p in net.named_parameters()}
            before, after = (over_tasks(fixed, *test, s).mean().item() for s in (0, 5))
            print(f"iteration {it + 1}: meta loss {meta.item():.3f}, test mse before {before:.2f} and after 5 steps {after:.2f}")


main()
