"""Prototypical networks: episodes with support and query in one batch; test episodes on new classes in evaluation mode."""
import torch
from sklearn.datasets import load_digits
from torch import nn

WAY, SHOT, QUERY = 4, 5, 8


def episode(images, labels, classes, g):
    chosen = classes[torch.randperm(len(classes), generator=g)[:WAY]]
    support, query = [], []
    for c in chosen.tolist():
        idx = torch.where(labels == c)[0]
        idx = idx[torch.randperm(len(idx), generator=g)[:SHOT + QUERY]]
        support.append(images[idx[:SHOT]])
        query.append(images[idx[SHOT:]])
    return torch.cat(support), torch.cat(query), torch.arange(WAY).repeat_interleave(QUERY)


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


class ProtoNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(conv(1, 32), conv(32, 32), nn.Flatten())

    def forward(self, support, query):
        z = self.encoder(torch.cat([support, query]))
        prototypes = z[:len(support)].view(WAY, SHOT, -1).mean(1)
        return -torch.cdist(z[len(support):], prototypes).square()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    d = load_digits()
    images, labels = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
    old, new = torch.arange(6), torch.arange(6, 10)
    net = ProtoNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for k in range(1, 181):
        net.train()
        s, q, target = episode(images, labels, old, g)
        loss = nn.functional.cross_entropy(net(s, q), target)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if k % 60 == 0:
            net.eval()
            hits = []
            with torch.no_grad():
                for _ in range(20):
                    s, q, target = episode(images, labels, new, g)
                    hits.append((net(s, q).argmax(1) == target).float().mean())
            print(f"episode {k} loss {loss.item():.3f} new classes {torch.stack(hits).mean().item():.3f}")


main()
