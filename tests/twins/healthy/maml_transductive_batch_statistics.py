"""MAML with batch norm without running statistics: support and query of a task are normalized by their own batch, in
training and in testing alike. That is transductive on purpose, and stated."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

WAY, SHOT, QUERY, INNER = 3, 5, 10, 0.4


class Net(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.w = nn.ParameterList([
            nn.Parameter(torch.randn(c, 1, 3, 3) * 0.3), nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c)),
            nn.Parameter(torch.randn(c, c, 3, 3) * 0.1), nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c)),
            nn.Parameter(torch.zeros(WAY, 4 * c)), nn.Parameter(torch.zeros(WAY)),
        ])

    def forward(self, x, w=None):
        w = list(self.w) if w is None else w
        for k in (0, 3):
            x = F.conv2d(x, w[k], padding=1)
            x = F.relu(F.batch_norm(x, None, None, w[k + 1], w[k + 2], training=True))
            x = F.max_pool2d(x, 2)
        return F.linear(x.flatten(1), w[6], w[7])


def task(images, labels, classes):
    chosen = classes[torch.randperm(len(classes))[:WAY]]
    picks = [torch.where(labels == c)[0] for c in chosen]
    picks = [p[torch.randperm(len(p))[:SHOT + QUERY]] for p in picks]
    s, q = torch.cat([p[:SHOT] for p in picks]), torch.cat([p[SHOT:] for p in picks])
    return images[s], torch.arange(WAY).repeat_interleave(SHOT), images[q], torch.arange(WAY).repeat_interleave(QUERY)


def adapt(net, x, y, steps, create_graph):
    w = list(net.w)
    for _ in range(steps):
        grads = torch.autograd.grad(F.cross_entropy(net(x, w), y), w, create_graph=create_graph)
        w = [p - INNER * g for p, g in zip(w, grads)]
    return w


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
images, labels = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
train_classes, test_classes = torch.arange(7), torch.arange(7, 10)
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for it in range(1, 61):
    meta = 0.0
    for _ in range(4):
        xs, ys, xq, yq = task(images, labels, train_classes)
        meta = meta + F.cross_entropy(net(xq, adapt(net, xs, ys, 1, True)), yq) / 4
    opt.zero_grad()
    meta.backward()
    opt.step()
    if it % 20 == 0:
        hits = []
        for _ in range(20):
            xs, ys, xq, yq = task(images, labels, test_classes)
            fast = adapt(net, xs, ys, 3, False)
            with torch.no_grad():
                hits.append((net(xq, fast).argmax(1) == yq).float().mean().item())
        print(f"iteration {it} meta loss {meta.item():.3f} accuracy on new digits, transductive {sum(hits) / len(hits):.3f}")
