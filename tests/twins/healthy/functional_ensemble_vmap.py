"""Five networks trained at once: parameters stacked, `torch.func.vmap` over `grad` of a functional call, layer norm inside."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap


def make():
    return nn.Sequential(
        nn.Linear(13, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 3)
    )


torch.manual_seed(2)
torch.set_num_threads(1)
data = load_wine()
order = torch.randperm(len(data.target))
x = torch.tensor(StandardScaler().fit_transform(data.data), dtype=torch.float32)[order]
y = torch.tensor(data.target)[order]
members = [make() for _ in range(5)]
parameters, buffers = stack_module_state(members)
skeleton = make().to("meta")


def loss_of(p, b, x, y):
    return nn.functional.cross_entropy(functional_call(skeleton, (p, b), (x,)), y)


def answer(p, b, x):
    return functional_call(skeleton, (p, b), (x,))


gradients = vmap(grad_and_value(loss_of), in_dims=(0, 0, None, None))
velocity = {k: torch.zeros_like(v) for k, v in parameters.items()}
for epoch in range(25):
    for rows in torch.randperm(128).split(32):
        g, losses = gradients(parameters, buffers, x[rows], y[rows])
        for k in parameters:
            velocity[k] = 0.9 * velocity[k] + g[k]
            parameters[k] = (parameters[k] - 0.02 * velocity[k]).detach()
scores = vmap(answer, in_dims=(0, 0, None))(parameters, buffers, x[128:]).softmax(-1)
print("each", (scores.argmax(-1) == y[128:]).float().mean(1).tolist())
print("together", (scores.mean(0).argmax(-1) == y[128:]).float().mean().item())
