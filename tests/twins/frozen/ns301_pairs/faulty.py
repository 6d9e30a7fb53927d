# Digits, upsampled to 16x16, with batch norm written in functional style.
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(3)
torch.set_num_threads(1)

BATCH = 2
SAMPLES = 1600  # training samples drawn in total


class Net(nn.Module):
    def __init__(self, hidden=96):
        super().__init__()
        sizes = [256, hidden, hidden, hidden]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(n, m) * (2 / m) ** 0.5) for m, n in zip(sizes, sizes[1:])
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(n)) for n in sizes[1:])
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in sizes[1:])
        for i, n in enumerate(sizes[1:]):
            self.register_buffer(f"mean{i}", torch.zeros(n))
            self.register_buffer(f"var{i}", torch.ones(n))
        self.out = nn.Linear(hidden, 10)

    def forward(self, x):
        x = x.flatten(1)
        for i, (w, scale, shift) in enumerate(zip(self.weights, self.scales, self.shifts)):
            x = F.linear(x, w)
            mean, var = getattr(self, f"mean{i}"), getattr(self, f"var{i}")
            x = F.batch_norm(x, mean, var, scale, shift, training=self.training, momentum=0.1)
            x = F.relu(x)
        return self.out(x)


raw = load_digits()
images = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16
images = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
labels = torch.tensor(raw.target)
perm = torch.randperm(len(images))
train, test = perm[:1400], perm[1400:]

net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)

for step in range(SAMPLES // BATCH):
    idx = train[torch.randint(len(train), (BATCH,))]
    loss = F.cross_entropy(net(images[idx]), labels[idx])
    opt.zero_grad()
    loss.backward()
    opt.step()
    if (step + 1) * BATCH % 800 == 0:
        net.eval()
        with torch.no_grad():
            accuracy = (net(images[test]).argmax(1) == labels[test]).float().mean()
        net.train()
        print(f"{(step + 1) * BATCH} samples: loss {loss:.3f} test accuracy {accuracy:.3f}")
