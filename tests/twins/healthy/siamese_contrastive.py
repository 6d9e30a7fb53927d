import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import pairwise_distance

torch.manual_seed(11)
torch.set_num_threads(1)


class SiameseNet(nn.Module):
    """Both pictures pass through the same branch; the two are stacked so that the branch sees one batch."""

    def __init__(self, dim=16):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, dim),
        )

    def forward(self, a, b):
        both = self.branch(torch.cat([a, b]))
        return both.chunk(2)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0):
        super().__init__()
        self.margin = margin

    def forward(self, a, b, same):
        d = pairwise_distance(a, b)
        return (same * d.pow(2) + (1 - same) * (self.margin - d).clamp(min=0).pow(2)).mean()


def sample_pairs(images, labels, n):
    by_class = [torch.where(labels == c)[0] for c in range(10)]
    first = torch.randint(len(labels), (n,))
    same = torch.randint(2, (n,)).float()
    second = torch.empty(n, dtype=torch.long)
    for k in range(n):
        c = labels[first[k]].item()
        if not same[k]:
            c = (c + torch.randint(1, 10, ()).item()) % 10
        pool = by_class[c]
        second[k] = pool[torch.randint(len(pool), ())]
    return images[first], images[second], same


bunch = load_digits()
images = torch.tensor(bunch.images).float().unsqueeze(1).div(16)
labels = torch.tensor(bunch.target)
shuffle = torch.randperm(len(labels))
train_ids, test_ids = shuffle[:1300], shuffle[1300:]

net = SiameseNet()
loss_fn = ContrastiveLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(1, 151):
    a, b, same = sample_pairs(images[train_ids], labels[train_ids], 48)
    za, zb = net(a, b)
    loss = loss_fn(za, zb, same)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, round(loss.item(), 4))

net.eval()
with torch.no_grad():
    a, b, same = sample_pairs(images[test_ids], labels[test_ids], 400)
    za, zb = net(a, b)
    print("verification AUC", round(roc_auc_score(same.numpy(), -pairwise_distance(za, zb).numpy()), 4))
