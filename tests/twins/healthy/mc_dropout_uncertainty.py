"""Monte-Carlo dropout: at test time the dropout layers alone are in training mode."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn


def enable_dropout(model):
    for m in model.modules():
        if m.__class__.__name__.startswith("Dropout"):
            m.train()


class BayesNet(nn.Module):
    def __init__(self, p=0.2):
        super().__init__()
        self.bn_in = nn.BatchNorm1d(64)
        self.fc1 = nn.Linear(64, 128, bias=False)
        self.bn1 = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 128)
        self.drop1, self.drop2 = nn.Dropout(p), nn.Dropout(p)
        self.out = nn.Linear(128, 10)

    def forward(self, x):
        x = self.drop1(torch.relu(self.bn1(self.fc1(self.bn_in(x)))))
        x = self.drop2(torch.relu(self.fc2(x)))
        return self.out(x)


def predict(model, x, passes=20):
    model.eval()
    enable_dropout(model)
    with torch.no_grad():
        probs = torch.stack([model(x).softmax(-1) for _ in range(passes)])
    mean = probs.mean(0)
    entropy = -(mean * mean.clamp_min(1e-12).log()).sum(-1)
    expected = -(probs * probs.clamp_min(1e-12).log()).sum(-1).mean(0)
    return mean, entropy - expected


if __name__ == "__main__":
    torch.manual_seed(13)
    np.random.seed(13)
    torch.set_num_threads(1)
    bunch = load_digits()
    idx = np.random.permutation(len(bunch.target))
    X = torch.tensor(bunch.data[idx], dtype=torch.float32)
    y = torch.tensor(bunch.target[idx])
    Xtr, ytr, Xte, yte = X[:1300], y[:1300], X[1300:], y[1300:]
    model = BayesNet()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    for epoch in range(12):
        model.train()
        for b in np.array_split(np.random.permutation(len(Xtr)), 26):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(Xtr[b]), ytr[b])
            loss.backward()
            opt.step()
        if epoch % 4 == 3:
            mean, _ = predict(model, Xte)
            print(f"epoch {epoch} loss {loss.item():.3f} MC accuracy {(mean.argmax(1) == yte).float().mean():.3f}")
    mean, information = predict(model, Xte, passes=50)
    wrong = (mean.argmax(1) != yte).numpy()
    model.eval()
    with torch.no_grad():
        plain = (model(Xte).argmax(1) == yte).float().mean().item()
    print(f"accuracy without sampling {plain:.3f}; mutual information finds errors with AUC {roc_auc_score(wrong, information.numpy()):.3f}")
