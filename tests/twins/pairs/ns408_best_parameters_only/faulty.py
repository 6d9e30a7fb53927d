import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class EarlyStopping(object):
    """Keeps the best weights seen so far."""

    def __init__(self, model):
        self.model = model
        self.best = -np.inf
        self.saved = None

    def update(self, score):
        if score > self.best:
            self.best = score
            self.saved = [p.detach().clone() for p in self.model.parameters()]

    def restore(self):
        with torch.no_grad():
            for p, best in zip(self.model.parameters(), self.saved):
                p.copy_(best)


class Experiment(object):
    def __init__(self, seed=0):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        data, labels = load_digits(return_X_y=True)
        data = torch.tensor(data / 16, dtype=torch.float32)
        labels = torch.tensor(labels)
        rest, self.x_test, rest_y, self.y_test = train_test_split(data, labels, test_size=360, random_state=seed)
        self.x, self.x_val, self.y, self.y_val = train_test_split(rest, rest_y, test_size=300, random_state=seed)
        self.model = nn.Sequential(
            nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Linear(96, 96), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Linear(96, 96), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Linear(96, 10),
        )
        self.criterion = nn.CrossEntropyLoss()
        # warm restart: the second cycle begins with a large learning rate
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.rates = [0.05] * 6 + [0.005] * 2 + [0.5] * 2
        self.keeper = EarlyStopping(self.model)

    def score(self, x, y):
        self.model.eval()
        with torch.no_grad():
            return (self.model(x).argmax(1) == y).float().mean().item()

    def epoch(self, lr):
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        order = torch.randperm(len(self.x))
        for i in range(len(order) // 40):
            rows = order[i * 40 : (i + 1) * 40]
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(self.x[rows]), self.y[rows])
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def run(self):
        for number, lr in enumerate(self.rates):
            loss = self.epoch(lr)
            val = self.score(self.x_val, self.y_val)
            self.keeper.update(val)
            print("epoch %d lr %.3f loss %.3f val %.3f" % (number, lr, loss, val))
        self.keeper.restore()
        print("best val %.3f, test %.3f" % (self.keeper.best, self.score(self.x_test, self.y_test)))


if __name__ == "__main__":
    Experiment().run()
