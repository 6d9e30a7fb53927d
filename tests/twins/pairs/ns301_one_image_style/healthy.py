import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(24)
torch.set_num_threads(1)
clean = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16


def photographed(images):
    gain = torch.empty(len(images), 1, 1, 1).log_normal_(0, 0.8)
    return gain * images + torch.randn(len(images), 1, 1, 1)


def up(i, o):
    norm = nn.InstanceNorm2d(o, affine=True)
    return [nn.Conv2d(i, o, 3, padding=1, bias=False), norm, nn.LeakyReLU(0.1)]


net = nn.Sequential(*up(1, 24), *up(24, 24), *up(24, 24), nn.Conv2d(24, 1, 3, padding=1))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.999))
train, test = clean[:1500], clean[1500:]
test_in = photographed(test)
net.train()
for iteration in range(1, 1201):
    target = train[torch.randint(0, 1500, (1,))]
    loss = (net(photographed(target)) - target).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if iteration % 600 == 0:
        net.eval()
        with torch.no_grad():
            error = (net(test_in) - test).abs().mean().item()
        net.train()
        print(f"iteration {iteration} test error {error:.4f}")
