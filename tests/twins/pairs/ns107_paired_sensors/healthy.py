import torch
from torch import nn


def build_model(width, readout):
    """`embed` turns one sensor's reading into features; the regression reads those of both."""
    embed = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
    model = nn.ModuleDict({"embed": embed, "readout": readout})

    def forward(inside, outside):
        return model["readout"](torch.cat([embed(inside), embed(outside)], dim=1)).squeeze(1)

    model.forward = forward
    return model


def make_data(n, generator):
    inside = torch.randn(n, 6, generator=generator)
    outside = 0.6 * inside + 0.8 * torch.randn(n, 6, generator=generator)
    heat = torch.sin(inside[:, 0]) * inside[:, 1] - torch.tanh(outside[:, 2]) + 0.5 * outside[:, 3]
    y = heat + 0.05 * torch.randn(n, generator=generator)
    return inside, outside, y  # both standardized


def fit(model, data, steps, batch, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    loss_fn = nn.MSELoss()
    inside, outside, y = data
    for step in range(steps):
        index = torch.randint(len(y), (batch,))
        model.train()
        loss = loss_fn(model(inside[index], outside[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 200 == 0:
            yield step + 1, loss.item()


def r_squared(model, data):
    inside, outside, y = data
    model.eval()
    with torch.no_grad():
        residual = (model(inside, outside) - y).square().mean()
    return (1 - residual / y.var()).item()


if __name__ == "__main__":
    torch.manual_seed(5)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    train, test = make_data(3000, generator), make_data(1000, generator)
    model = build_model(32, nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)))
    for step, loss in fit(model, train, steps=1000, batch=64, lr=3e-3):
        print("step", step, "loss %.4f" % loss, "test R2 %.4f" % r_squared(model, test))
