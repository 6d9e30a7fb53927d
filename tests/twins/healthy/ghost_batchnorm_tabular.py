"""Ghost batch norm as in TabNet: a large batch is cut into virtual batches of 32, one batch norm normalizes each alone."""
import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score
from torch import nn


class GBN(nn.Module):
    def __init__(self, dim, virtual_batch_size=32, momentum=0.02):
        super().__init__()
        self.virtual_batch_size = virtual_batch_size
        self.bn = nn.BatchNorm1d(dim, momentum=momentum)

    def forward(self, x):
        if not self.training:
            return self.bn(x)
        chunks = x.chunk(int(np.ceil(len(x) / self.virtual_batch_size)), 0)
        return torch.cat([self.bn(c) for c in chunks], dim=0)


class GLU(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.fc, self.bn, self.o = nn.Linear(i, 2 * o, bias=False), GBN(2 * o), o

    def forward(self, x):
        x = self.bn(self.fc(x))
        return x[:, :self.o] * torch.sigmoid(x[:, self.o:])


class TabularNet(nn.Module):
    def __init__(self, features, width=32, classes=3):
        super().__init__()
        self.initial = nn.BatchNorm1d(features, momentum=0.02)
        self.first, self.second, self.third = GLU(features, width), GLU(width, width), GLU(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.first(self.initial(x))
        x = (x + self.second(x)) * 0.5**0.5
        x = (x + self.third(x)) * 0.5**0.5
        return self.head(x)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, y = make_classification(4096 + 1000, 20, n_informative=8, n_classes=3, n_clusters_per_class=2, class_sep=1.5, random_state=0)
    X, y = torch.tensor(X * np.logspace(-1, 2, 20), dtype=torch.float32), torch.tensor(y)
    Xt, yt, X, y = X[4096:], y[4096:], X[:4096], y[:4096]
    net = TabularNet(20)
    opt = torch.optim.Adam(net.parameters(), lr=2e-2)
    sched = torch.optim.lr_scheduler.StepLR(opt, 5, 0.7)
    for epoch in range(20):
        net.train()
        for idx in torch.randperm(4096).split(256):
            loss = nn.functional.cross_entropy(net(X[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(net.parameters(), 1.0)
            opt.step()
        sched.step()
        if epoch % 5 == 4:
            net.eval()
            with torch.no_grad():
                print(f"epoch {epoch} | loss {loss.item():.4f} | test accuracy {accuracy_score(yt, net(Xt).argmax(1)):.4f}")
