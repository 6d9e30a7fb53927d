"""Volumes of solid shapes, read from shards that were written one after another by a simulator."""

import torch
from torch import nn

torch.set_num_threads(1)
g = torch.Generator().manual_seed(21)
SIDE, PER_SHARD, SHARDS, KINDS = 8, 24, 40, 4


def volume(kind, n):
    """Balls, shells, rods and plates of random place and size, in noise."""
    axis = torch.arange(SIDE, dtype=torch.float32)
    centre = torch.rand(n, 3, generator=g) * 3 + 2.0
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    away = (grid[None] - centre[:, :, None, None, None]).abs()
    r = away.square().sum(1).sqrt()
    inside = [
        r < 2.6,
        (r > 1.6) & (r < 3.1),
        away[:, 1:].amax(1) < 1.6,
        away[:, 0] < 1.1,
    ][kind]
    return (inside.float() + 0.5 * torch.randn(inside.shape, generator=g))[:, None]


def simulate(shards):
    for k in range(shards):
        kind = int(torch.randint(KINDS, (), generator=g))
        yield volume(kind, PER_SHARD), torch.full((PER_SHARD,), kind)


def stream(shards):
    """One batch from each shard."""
    for k in torch.randperm(len(shards), generator=g).tolist():
        yield shards[k]


def step(model, optimizer, x, y):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def make_model():
    def layer(a, b, stride):
        return [nn.Conv3d(a, b, 3, stride, 1, bias=False), nn.BatchNorm3d(b), nn.LeakyReLU(0.1)]

    return nn.Sequential(*layer(1, 8, 1), *layer(8, 16, 2), *layer(16, 24, 2), nn.Flatten(), nn.Linear(192, KINDS))


def main():
    torch.manual_seed(21)
    shards, held_out = list(simulate(SHARDS)), list(simulate(20))
    x_test, y_test = torch.cat([x for x, _ in held_out]), torch.cat([y for _, y in held_out])
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(4):
        model.train()
        losses = [step(model, optimizer, x, y) for x, y in stream(shards)]
        model.eval()
        with torch.inference_mode():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"{epoch}: loss {sum(losses) / len(losses):.3f}, accuracy {accuracy:.3f}")


main()
