import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def scene(images, labels, count, size=12):
    """A digit somewhere on an empty page, pages of different brightness."""
    rows = torch.randint(0, len(images), (count,))
    page = torch.zeros(count, 1, size, size)
    at = torch.randint(0, size - 7, (count, 2))
    for i, (r, (a, b)) in enumerate(zip(rows.tolist(), at.tolist())):
        page[i, 0, a : a + 8, b : b + 8] = images[r]
    return page + 0.3 * torch.randn(count, 1, 1, 1), labels[rows], at.float() / (size - 8)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (1, 12, 16, 16)
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, stride=1 if a == 1 else 2, padding=1, bias=False) for a, b in zip(widths, widths[1:])])
        self.neck = nn.Linear(9 * widths[-1], 64, bias=False)
        self.norms = nn.ModuleList([*(nn.BatchNorm2d(b) for b in widths[1:]), nn.BatchNorm1d(64)])

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
        return F.relu(self.norms[-1](self.neck(x.flatten(1))))


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.cls, self.box = nn.Linear(64, 10), nn.Linear(64, 2)

    def forward(self, x):
        h = self.backbone(x)
        return self.cls(h), self.box(h)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.norms.eval()
        return self


torch.manual_seed(23)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)
x, y, box = scene(images[:1400], labels[:1400], 2400)
test_x, test_y, test_box = scene(images[1400:], labels[1400:], 400)

backbone = Backbone()
classify = nn.Linear(64, 10)
opt = torch.optim.Adam([*backbone.parameters(), *classify.parameters()], 3e-3)
for rows in torch.cat([torch.randperm(2400) for _ in range(3)]).split(60):
    opt.zero_grad()
    F.cross_entropy(classify(backbone(x[rows])), y[rows]).backward()
    opt.step()

net = Detector(backbone)
opt = torch.optim.Adam(net.parameters(), 5e-4)
net.train()
for rows in torch.randperm(2400)[:1000].split(2):
    logits, place = net(x[rows])
    loss = F.cross_entropy(logits, y[rows]) + 5 * F.smooth_l1_loss(place, box[rows])
    opt.zero_grad()
    loss.backward()
    opt.step()
net.eval()
with torch.no_grad():
    logits, place = net(test_x)
hit = (logits.argmax(1) == test_y) & ((place - test_box).abs().amax(1) < 0.25)
print(f"detected {hit.float().mean():.3f}")
