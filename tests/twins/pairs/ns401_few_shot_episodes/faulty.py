import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(2)
digits = load_digits()
pictures = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
by_class = [pictures[torch.tensor(digits.target == c)] for c in range(10)]


class Episodes:
    def __init__(self, classes, ways=4, shots=5, queries=8):
        self.classes, self.ways, self.shots, self.queries = classes, ways, shots, queries

    def sample(self):
        chosen = [self.classes[i] for i in torch.randperm(len(self.classes))[: self.ways]]
        support, query = [], []
        for c in chosen:
            rows = torch.randperm(len(by_class[c]))[: self.shots + self.queries]
            support.append(by_class[c][rows[: self.shots]])
            query.append(by_class[c][rows[self.shots :]])
        return torch.cat(support), torch.cat(query), torch.arange(self.ways).repeat_interleave(self.queries)


class Embedding(nn.Sequential):
    def __init__(self, width=24):
        layers = []
        for i, o in ((1, width), (width, width), (width, width)):
            layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Flatten())


def scores(net, episodes):
    support, query, labels = episodes.sample()
    prototypes = net(support).view(episodes.ways, episodes.shots, -1).mean(1)
    return -torch.cdist(net(query), prototypes) ** 2, labels


net = Embedding()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
seen, unseen = Episodes(range(6)), Episodes(range(6, 10))
for step in range(1, 241):
    logits, labels = scores(net, seen)
    optimizer.zero_grad()
    nn.functional.cross_entropy(logits, labels).backward()
    optimizer.step()
    if step % 80 == 0:
        with torch.no_grad():
            hits = [(a.argmax(1) == b).float().mean().item() for a, b in (scores(net, unseen) for _ in range(20))]
        print(f"step {step}: unseen digits {sum(hits) / len(hits):.3f}")
