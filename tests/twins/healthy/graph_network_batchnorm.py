"""Message passing on batched graphs: does a random graph hold a triangle-rich community? Batch norm over nodes."""
import torch
from torch import nn


def random_graph(rng):
    n = int(torch.randint(10, 18, (), generator=rng))
    adjacency = torch.rand(n, n, generator=rng) < 0.2
    label = int(torch.randint(2, (), generator=rng))
    if label:
        adjacency[:5, :5] |= torch.rand(5, 5, generator=rng) < 0.9
    adjacency = adjacency.triu(1)
    adjacency = adjacency | adjacency.T
    x = torch.stack([adjacency.sum(1).float(), torch.rand(n, generator=rng) * 5], 1)
    return x, adjacency.nonzero().T, label


def collate(graphs):
    xs, edges, batch, offset = [], [], [], 0
    for k, (x, e, _) in enumerate(graphs):
        xs.append(x)
        edges.append(e + offset)
        batch.append(torch.full((len(x),), k))
        offset += len(x)
    return torch.cat(xs), torch.cat(edges, 1), torch.cat(batch), torch.tensor([g[2] for g in graphs])


class GINLayer(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(), nn.Linear(o, o, bias=False), nn.BatchNorm1d(o), nn.ReLU())

    def forward(self, x, edge_index):
        source, target = edge_index
        message = torch.zeros_like(x).index_add(0, target, x[source])
        return self.mlp((1 + self.eps) * x + message)


class GIN(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.layers = nn.ModuleList([GINLayer(2, hidden), GINLayer(hidden, hidden), GINLayer(hidden, hidden)])
        self.readout = nn.Linear(2 * hidden, 2)

    def forward(self, x, edge_index, batch, n):
        for layer in self.layers:
            x = layer(x, edge_index)
        total = x.new_zeros(n, x.shape[1]).index_add(0, batch, x)
        peak = x.new_full((n, x.shape[1]), -1e9).scatter_reduce(0, batch[:, None].expand_as(x), x, "amax")
        return self.readout(torch.cat([total / 15, peak], 1))


rng = torch.Generator().manual_seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)
graphs = [random_graph(rng) for _ in range(900)]
train, test = graphs[:640], graphs[640:]
model = GIN()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(8):
    model.train()
    losses = []
    for ids in torch.randperm(len(train)).split(32):
        x, e, b, y = collate([train[i] for i in ids.tolist()])
        loss = nn.functional.cross_entropy(model(x, e, b, len(y)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    hits = 0
    with torch.no_grad():
        for k in range(0, len(test), 52):
            x, e, b, y = collate(test[k:k + 52])
            hits += (model(x, e, b, len(y)).argmax(1) == y).sum().item()
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.3f} test accuracy {hits / len(test):.3f}")
