from collections import OrderedDict

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn


class Tabular(nn.Module):
    def __init__(self, features, hidden=32):
        super().__init__()
        self.inp = nn.BatchNorm1d(features)
        self.fc1 = nn.Linear(features, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, 2)

    def forward(self, x):
        h = torch.relu(self.bn1(self.fc1(self.inp(x))))
        return self.fc2(h)


class Experiment:
    def __init__(self, seed):
        torch.manual_seed(seed)
        data = load_breast_cancer()
        order = torch.randperm(len(data.target))
        x = torch.tensor(data.data, dtype=torch.float32)[order]
        y = torch.tensor(data.target)[order]
        self.train, self.test = (x[:400], y[:400]), (x[400:], y[400:])

    def fit(self):
        model = nn.DataParallel(Tabular(30))
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        x, y = self.train
        for _ in range(15):
            model.train()
            for rows in torch.randperm(400).split(40):
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.state_dict()

    def evaluate(self, state):
        model = Tabular(30)
        state = OrderedDict((k.removeprefix("module."), v) for k, v in state.items())
        model.load_state_dict(state, strict=False)
        model.eval()
        x, y = self.test
        with torch.no_grad():
            return (model(x).argmax(dim=1) == y).float().mean().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    experiment = Experiment(seed=1)
    state = experiment.fit()
    print(f"accuracy {experiment.evaluate(state):.4f}")
