"""Node classification on one graph: full-batch training with masks, as in graph-library tutorials."""
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(1)
N, CLASSES, FEATURES = 1200, 4, 60

# a stochastic block model with sparse word-like features
y = torch.randint(CLASSES, (N,))
same = y[:, None] == y[None]
adj = torch.rand(N, N) < torch.where(same, 0.008, 0.0015)
adj = (adj | adj.T).float().fill_diagonal_(1)
degree = adj.sum(1)
edge = (adj / (degree[:, None] * degree[None]).sqrt()).to_sparse()
topics = torch.rand(CLASSES, FEATURES) * 0.08
x = (torch.rand(N, FEATURES) < topics[y] + 0.03).float()
perm = torch.randperm(N)
train_mask, val_mask, test_mask = (torch.zeros(N, dtype=torch.bool) for _ in range(3))
train_mask[perm[:200]], val_mask[perm[200:500]], test_mask[perm[500:]] = True, True, True


class GCNConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.lin = nn.Linear(i, o, bias=False)
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x, edge):
        return torch.sparse.mm(edge, self.lin(x)) + self.bias


class GCN(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.conv1, self.bn = GCNConv(FEATURES, hidden), nn.BatchNorm1d(hidden)
        self.conv2 = GCNConv(hidden, CLASSES)

    def forward(self, x, edge):
        x = F.relu(self.bn(self.conv1(x, edge)))
        x = F.dropout(x, p=0.5, training=self.training)
        return self.conv2(x, edge)


model = GCN()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)


def train():
    model.train()
    optimizer.zero_grad()
    out = model(x, edge)
    loss = F.cross_entropy(out[train_mask], y[train_mask])
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    model.eval()
    pred = model(x, edge).argmax(dim=-1)
    return [(pred[m] == y[m]).float().mean().item() for m in (train_mask, val_mask, test_mask)]


best_val = final_test = 0
for epoch in range(1, 121):
    loss = train()
    train_acc, val_acc, test_acc = test()
    if val_acc > best_val:
        best_val, final_test = val_acc, test_acc
    if epoch % 40 == 0:
        print(f"Epoch: {epoch:03d}, Loss: {loss:.4f}, Train: {train_acc:.4f}, Val: {best_val:.4f}, Test: {final_test:.4f}")
