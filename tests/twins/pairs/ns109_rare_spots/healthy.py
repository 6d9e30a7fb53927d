# Find the bright spots on a noisy plate: a small segmentation network, cross entropy over two classes per pixel.
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(5)
torch.set_num_threads(1)


def conv_bn(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Segmenter(nn.Module):
    def __init__(self, c=10):
        super().__init__()
        self.enter = conv_bn(1, c)
        self.down = conv_bn(c, 2 * c)
        self.up = conv_bn(3 * c, c)
        self.classify = nn.Conv2d(c, 2, 1)

    def forward(self, x):
        a = self.enter(x)
        b = F.interpolate(self.down(F.max_pool2d(a, 2)), scale_factor=2)
        return self.classify(self.up(torch.cat([a, b], 1)))


def plates(n, size=24):
    grid = torch.arange(size).float()
    mask = torch.zeros(n, size, size, dtype=torch.long)
    for _ in range(3):
        y, x = torch.rand(2, n, 1, 1) * size
        mask |= ((grid[:, None] - y) ** 2 + (grid[None, :] - x) ** 2 < 5).long()
    image = mask.float() + 0.35 * torch.randn(n, size, size)
    return image[:, None], mask


def overlap(net, image, mask):
    """Intersection over union of the spots."""
    net.eval()
    with torch.no_grad():
        found = net(image).argmax(1).bool()
    return ((found & mask.bool()).sum() / (found | mask.bool()).sum()).item()


image, mask = plates(240)
test_image, test_mask = plates(80)
net = Segmenter()
opt = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-4)
for epoch in range(4):
    net.train()
    for i in torch.randperm(240).view(-1, 16):
        loss = F.cross_entropy(net(image[i]), mask[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("epoch %d: loss %.3f, intersection over union %.3f" % (epoch, loss.item(), overlap(net, test_image, test_mask)))
