import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn, optim


class TumourNet(nn.Module):
    def __init__(self, n_in, width=64):
        super().__init__()
        self.fc1 = nn.Linear(n_in, width)
        self.bn1 = nn.BatchNorm1d(width)
        self.fc2 = nn.Linear(width, width)
        self.bn2 = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        x = torch.relu(self.bn1(self.fc1(x)))
        x = torch.relu(self.bn2(self.fc2(x)))
        return self.out(x).squeeze(-1)


class Trainer:
    def __init__(self, model, train, valid, lr=0.05, batch_size=32):
        self.model = model
        self.train_data = train
        self.valid_data = valid
        self.batch_size = batch_size
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
        self.history = []

    def batches(self, data, size, shuffle):
        x, y = data
        order = np.random.permutation(len(x)) if shuffle else np.arange(len(x))
        for start in range(0, len(x) - size + 1, size):
            idx = order[start : start + size]
            yield x[idx], y[idx]

    def fit(self, epochs):
        for epoch in range(epochs):
            self.model.train()
            for x, y in self.batches(self.train_data, self.batch_size, shuffle=True):
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(x), y)
                loss.backward()
                self.optimizer.step()
            self.history.append(self.validate())
            print("epoch %d  loss %.4f  val acc %.4f" % (epoch, loss.item(), self.history[-1]))

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        right = total = 0
        for x, y in self.batches(self.valid_data, 2, shuffle=False):
            logits = self.model(x)
            right += ((logits > 0).float() == y).sum().item()
            total += len(y)
        return right / total


def main():
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_breast_cancer()
    order = np.random.permutation(len(data.target))
    split = int(0.7 * len(order))
    scaler = StandardScaler().fit(data.data[order[:split]])
    x = torch.tensor(scaler.transform(data.data[order]), dtype=torch.float32)
    y = torch.tensor(data.target[order], dtype=torch.float32)
    trainer = Trainer(TumourNet(x.shape[1]), (x[:split], y[:split]), (x[split:], y[split:]))
    trainer.fit(10)


if __name__ == "__main__":
    main()
