"""Recognise digits read column by column, with a recurrent cell written by hand."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class Cell(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.read = nn.Linear(inputs, 2 * hidden)
        self.recall = nn.Linear(hidden, 2 * hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, x, h):
        gate, new = (self.read(x) + self.recall(torch.tanh(h))).chunk(2, dim=1)
        return self.norm(h + torch.sigmoid(gate) * new)


class Reader(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.hidden = hidden
        self.cell = Cell(8, hidden)
        self.decide = nn.Linear(hidden, 10)

    def forward(self, strips):
        h = strips.new_zeros(strips.shape[0], self.hidden)
        for column in strips.unbind(dim=2):
            h = self.cell(column, h)
        return self.decide(h)


def strips():
    """The eight columns of an image, after a blank margin and before one."""
    data = load_digits()
    image = torch.tensor(data.images / 16, dtype=torch.float32)
    wide = torch.zeros(len(image), 8, 20)
    wide[:, :, 6:14] = image
    return wide, torch.tensor(data.target)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = strips()
    order = torch.randperm(len(x))
    train, test = order[:1408], order[1408:]
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(6):
        model.train()
        for rows in train[torch.randperm(len(train))].split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = (model(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {score:.3f}")


if __name__ == "__main__":
    main()
