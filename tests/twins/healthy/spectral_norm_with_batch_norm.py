"""A Lipschitz-limited classifier: spectral norm on every linear map, batch norm without scale between them."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.utils import parametrizations


def sn_linear(i, o):
    return parametrizations.spectral_norm(nn.Linear(i, o), n_power_iterations=2)


class SNClassifier(nn.Module):
    def __init__(self, features, hidden=48):
        super().__init__()
        self.inp = nn.BatchNorm1d(features, affine=False)
        self.l1, self.n1 = sn_linear(features, hidden), nn.BatchNorm1d(hidden, affine=False)
        self.l2, self.n2 = sn_linear(hidden, hidden), nn.BatchNorm1d(hidden, affine=False)
        self.l3 = sn_linear(hidden, 1)
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        x = self.n1(torch.tanh(self.l1(self.inp(x))))
        x = self.n2(torch.tanh(self.l2(x)))
        return self.scale * self.l3(x).squeeze(-1)


def hinge(score, y):
    return nn.functional.relu(1 - (2 * y - 1) * score).mean()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, y = load_breast_cancer(return_X_y=True)
    X, Xt, y, yt = train_test_split(torch.tensor(X).float(), torch.tensor(y).float(), test_size=0.3, random_state=0)
    net = SNClassifier(X.shape[1])
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(12):
        net.train()
        for idx in torch.randperm(len(X)).split(40):  # 398 = 9 * 40 + 38
            loss = hinge(net(X[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 4 == 3:
            net.eval()
            with torch.no_grad():
                score = net(Xt)
            print(f"epoch {epoch} hinge {loss.item():.3f} AUC {roc_auc_score(yt.numpy(), score.numpy()):.4f} accuracy {((score > 0) == (yt > 0.5)).float().mean():.4f}")
