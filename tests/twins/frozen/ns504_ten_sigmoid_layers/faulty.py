import torch
from torch import nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class DeepSigmoid(nn.Module):
    """Ten hidden layers; the features are standardized by a batch norm at the input."""

    def __init__(self, hidden=32, depth=10):
        super().__init__()
        self.input_norm = nn.BatchNorm1d(64)
        sizes = [64] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(hidden, 10)

    def forward(self, x):
        x = self.input_norm(x)
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        return self.head(x)


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    data = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target), random_state=1
    )
    model = DeepSigmoid()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(15):
        model.train()
        for idx in torch.randperm(len(x_train)).split(32)[:-1]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x_train[idx]), y_train[idx])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f} test {evaluate(model, x_test, y_test):.3f}")


main()
