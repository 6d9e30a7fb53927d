import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(19)


def sequences(count):
    kinds = torch.randint(0, 3, (count,))
    lengths = torch.distributions.LogNormal(3.0, 0.6).sample((count,)).long().clamp(4, 300)
    lengths[count // 2] = 900
    centers = torch.tensor([[0.0, 0.5], [0.5, 0.0], [0.3, 0.3]])
    return [(torch.cat([centers[k] + torch.randn(n, 2), torch.rand(n, 2)], 1), k) for k, n in zip(kinds, lengths)]


def by_tokens(data, budget, at_least):
    batch, tokens = [], 0
    for i in torch.randperm(len(data)).tolist():
        x, _ = data[i]
        if len(batch) >= at_least and tokens + len(x) > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(data[i])
        tokens += len(x)
    if len(batch) >= 16:
        yield batch


class Bag(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.step = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 3)

    def forward(self, xs):
        pooled = torch.stack([torch.tanh(self.step(x)).mean(0) for x in xs])
        return self.out(self.norm(pooled))


data, test = sequences(600), sequences(200)
net = Bag()
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
for epoch in range(4):
    net.train()
    for batch in by_tokens(data, budget=800, at_least=1):
        xs, ys = zip(*batch)
        loss = nn.functional.cross_entropy(net(xs), torch.stack(ys))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = (net([x for x, _ in test]).argmax(1) == torch.stack([y for _, y in test])).float().mean().item()
    print(f"epoch {epoch}: accuracy {right:.3f}")
