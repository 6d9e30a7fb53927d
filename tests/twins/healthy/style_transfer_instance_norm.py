"""Feed-forward style transfer on small pictures with conditional instance norm; its statistics are each picture's own."""
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
STYLES = 3


def scenes(n, size=32):
    """Smooth random fields, cut into flat regions of random colours."""
    field = F.interpolate(torch.randn(n, 3, 5, 5), size=size, mode="bicubic", align_corners=False)
    region = field.argmax(1)
    colours = torch.rand(n, 3, 3)
    flat = torch.stack([colours[k][:, region[k]] for k in range(n)])
    return (flat + 0.1 * field).clamp(0, 1)


yy, xx = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
style_images = torch.stack([
    ((xx // 2) % 2).float().expand(3, -1, -1),
    torch.stack([((xx + yy) // 3 % 2).float(), 0.2 * torch.ones(32, 32), ((xx - yy) // 3 % 2).float()]),
    torch.stack([0.9 * torch.ones(32, 32), 0.5 + 0.5 * torch.sin(yy * 0.8), 0.1 * torch.ones(32, 32)]),
])


class ConditionalInstanceNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.scale = nn.Parameter(torch.ones(STYLES, channels))
        self.shift = nn.Parameter(torch.zeros(STYLES, channels))

    def forward(self, x, s):
        return self.norm(x) * self.scale[s][..., None, None] + self.shift[s][..., None, None]


class Transfer(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, c, 5, padding=2, padding_mode="reflect"), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)])
        self.norms = nn.ModuleList(ConditionalInstanceNorm(c) for _ in self.convs)
        self.out = nn.Conv2d(c, 3, 5, padding=2, padding_mode="reflect")

    def forward(self, x, s):
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x), s))
        return torch.sigmoid(self.out(x))


# Features of a fixed random network: gram matrices are the style, deep features the content.
features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()).requires_grad_(False)
for m in features:
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight)


def gram(f):
    f = f.flatten(2)
    return f @ f.transpose(1, 2) / f.shape[2]


held_out = scenes(12)
style_grams = gram(features(style_images))
net = Transfer()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)


def losses(x, s):
    f, target = features(net(x, s)), features(x)
    return F.mse_loss(f, target), F.mse_loss(gram(f), style_grams[s])


for step in range(90):
    x, s = scenes(4), torch.randint(STYLES, (4,))
    c, g = losses(x, s)
    loss = c + 10 * g
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 30 == 29 or step == 0:
        with torch.no_grad():
            c, g = losses(held_out, torch.arange(12) % STYLES)
        print(f"step {step + 1}: loss {loss.item():.4f}; held out content {c.item():.4f} style {g.item():.4f}")
