"""Regression on the diabetes data: disease progression one year after baseline."""

import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 20


class Regressor(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.input = nn.Linear(inputs, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.output(torch.tanh(self.norm(self.input(x)))).flatten()


def r_squared(model, x, y):
    model.eval()
    with torch.no_grad():
        residual = ((model(x) - y) ** 2).sum()
    return (1 - residual / ((y - y.mean()) ** 2).sum()).item()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_diabetes(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32) * 20
    y = torch.tensor((y - 152) / 77, dtype=torch.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=1)
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)

    model = Regressor(x.shape[1], 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=1e-3)
    loss_fn = nn.HuberLoss()
    for epoch in range(EPOCHS):
        model.train()
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(xb), yb)
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(
                f"epoch {epoch + 1}: loss {loss.item():.3f}, R2 {r_squared(model, x_test, y_test):.3f}"
            )


if __name__ == "__main__":
    main()
