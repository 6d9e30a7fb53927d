"""Unsupervised domain adaptation on digits: labels for clean scans, entropy for those of a worn scanner."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(0)
torch.set_num_threads(1)


def worn(x):
    """The other scanner: pale on a grey ground, with noise."""
    return 1.6 - 0.5 * x + 0.1 * torch.randn_like(x)


class Classifier(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width * 16, 10)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 16
y = torch.tensor(y)
X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=0.25, random_state=0)
source, labels, target = X_tr[:700], y_tr[:700], worn(X_tr[700:])

model = Classifier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for epoch in range(14):
    model.train()
    for _ in range(20):
        i = torch.randint(len(source), (32,))
        j = torch.randint(len(target), (32,))
        optimizer.zero_grad()

        out_s, out_t = model(torch.cat([source[i], target[j]])).split(32)
        loss_s = F.cross_entropy(out_s, labels[i])
        p = F.softmax(out_t, dim=1)
        loss_t = -0.01 * (p * torch.log(p + 1e-6)).sum(1).mean()
        (loss_s + loss_t).backward()

        optimizer.step()

    model.eval()
    with torch.no_grad():
        acc = (model(X_te).argmax(1) == y_te).float().mean().item()
    print(f"epoch {epoch:2d}  source loss {loss_s.item():.4f}  source test accuracy {acc:.4f}")
