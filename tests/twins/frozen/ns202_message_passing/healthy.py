import torch
from torch import nn

torch.manual_seed(4)
torch.set_num_threads(1)


def molecules(count, atoms=12):
    kind = torch.randint(0, 6, (count, atoms))
    bonds = torch.rand(count, atoms, atoms) < 0.25
    bonds = torch.triu(bonds, 1)
    bonds = (bonds | bonds.transpose(1, 2)).float()
    charge = torch.tensor([1.0, 6.0, 7.0, 8.0, 16.0, 17.0])[kind]
    pull = (bonds * (charge[:, :, None] - charge[:, None, :]).abs()).sum((1, 2)) / atoms
    features = torch.cat([nn.functional.one_hot(kind, 6).float(), charge[..., None], charge[..., None] ** 2], -1)
    return features, bonds, (pull - 13) / 5


class Message(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.own, self.other = nn.Linear(i, o), nn.Linear(i, o, bias=False)
        self.norm = nn.BatchNorm1d(o)

    def forward(self, h, bonds):
        m = self.own(h) + bonds @ self.other(h)
        return torch.relu(self.norm(m.flatten(0, 1)).view_as(m))


class MPNN(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.layers = nn.ModuleList([Message(8, width), Message(width, width)])
        self.readout = nn.Linear(width, 1)

    def forward(self, h, bonds):
        for layer in self.layers:
            h = layer(h, bonds)
        return self.readout(h.mean(1)).squeeze(1)


h, bonds, target = molecules(900)
held_h, held_bonds, held_target = molecules(400)
model = MPNN()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(1):
    model.train()
    total = 0.0
    for rows in torch.randperm(900).split(90):
        loss = nn.functional.mse_loss(model(h[rows], bonds[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / 10
    for layer in model.layers:
        layer.norm.reset_running_stats()
        layer.norm.momentum = None
    with torch.no_grad():
        for a, b in zip(h.split(90), bonds.split(90)):
            model(a, b)
    model.eval()
    with torch.no_grad():
        held = nn.functional.mse_loss(model(held_h, held_bonds), held_target).item()
    print(f"epoch {epoch}: train {total:.3f} validation {held:.3f}")
