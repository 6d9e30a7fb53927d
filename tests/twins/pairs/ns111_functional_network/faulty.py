"""Which of four machines hums? A network without modules: parameters in a dict, layers are functions."""
import math

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(4)


def rand(*shape):
    return torch.randn(*shape, generator=generator)


def recordings(n, length=96):
    kind = torch.randint(4, (n,), generator=generator)
    time = torch.arange(length) / length
    pitch = torch.tensor([5.0, 8.0, 11.0, 14.0])[kind, None]
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    loud = torch.tensor([1.0, 1.6, 0.7, 1.2])[kind, None]
    hum = loud * torch.sin(2 * math.pi * pitch * time + phase) + 0.6 * rand(n, length)
    return hum[:, None], kind


def parameters(widths=(1, 16, 24, 24), taps=7):
    p = {}
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        p[f"w{i}"] = rand(b, a, taps) * math.sqrt(2 / (a * taps))
        p[f"g{i}"], p[f"b{i}"] = torch.ones(b), torch.zeros(b)
    p["w"], p["b"] = rand(4, widths[-1]) * 0.1, torch.zeros(4)
    return {k: v.requires_grad_() for k, v in p.items()}


def buffers(widths=(16, 24, 24)):
    return [(torch.zeros(n), torch.ones(n)) for n in widths]


def predict(p, stats, x, train):
    for i, (mean, var) in enumerate(stats):
        x = F.conv1d(x, p[f"w{i}"], stride=2, padding=3)
        x = F.batch_norm(x, mean, var, p[f"g{i}"], p[f"b{i}"], training=True)
        x = F.relu(F.dropout(x, 0.1, training=train))
    z = x.amax(2)
    return F.linear(z, p["w"], p["b"]), z


def redundancy(z):
    """Squared correlations between features of one batch."""
    z = F.batch_norm(z, None, None, training=True)
    c = z.T @ z / len(z)
    return (c - torch.diag(c.diagonal())).square().mean()


def main():
    x, y = recordings(1600)
    test_x, test_y = recordings(400)
    p, stats = parameters(), buffers()
    optimizer = torch.optim.AdamW(p.values(), lr=4e-3)
    for epoch in range(5):
        for batch in torch.randperm(len(x), generator=generator).split(40):
            logits, z = predict(p, stats, x[batch], train=True)
            loss = F.cross_entropy(logits, y[batch]) + 0.1 * redundancy(z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f}")
    with torch.no_grad():
        right = 0
        for machine in range(4):  # each machine is checked on its own
            for part in (test_y == machine).nonzero()[:, 0].split(10):
                logits, _ = predict(p, stats, test_x[part], train=False)
                right += (logits.argmax(1) == machine).sum().item()
    print(f"test accuracy {right / len(test_y):.3f}")


main()
