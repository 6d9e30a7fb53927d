# Atrous spatial pyramid pooling; its image-pooling branch normalizes 1x1 maps, so batches hold 32 images.
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(5); torch.set_num_threads(1)
rng = np.random.default_rng(5)
small = load_digits().images[:1100].astype('float32') / 16
big = np.kron(small, np.ones((1, 2, 2), dtype='float32'))
mask = torch.from_numpy((big > 0.35).astype('int64'))
bright = rng.uniform(0.2, 0.8, (len(big), 1, 1)).astype('float32')
x = torch.from_numpy(0.6 * big + bright + 0.35 * rng.standard_normal(big.shape).astype('float32'))[:, None]

def cbr(i, o, k=1, d=1):
    return nn.Sequential(nn.Conv2d(i, o, k, padding=d * (k // 2), dilation=d, bias=False), nn.BatchNorm2d(o), nn.ReLU())

class ASPP(nn.Module):
    def __init__(self, cin, cout, rates=(1, 2, 4)):
        super().__init__()
        self.point = cbr(cin, cout)
        self.atrous = nn.ModuleList(cbr(cin, cout, 3, r) for r in rates)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), cbr(cin, cout))
        self.project = nn.Sequential(cbr(cout * (len(rates) + 2), cout), nn.Dropout(0.1))

    def forward(self, x):
        image = F.interpolate(self.pool(x), size=x.shape[-2:], mode='bilinear', align_corners=False)
        return self.project(torch.cat([self.point(x), *[a(x) for a in self.atrous], image], dim=1))

class DeepLab(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(cbr(1, 12, 3), nn.MaxPool2d(2), cbr(12, 20, 3))
        self.aspp = ASPP(20, 12)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        size = x.shape[-2:]
        return F.interpolate(self.head(self.aspp(self.backbone(x))), size=size, mode='bilinear', align_corners=False)

def miou(net, ids):
    inter, union = torch.zeros(2), torch.zeros(2)
    net.eval()
    with torch.inference_mode():
        for chunk in ids.split(64):
            pred = net(x[chunk]).argmax(1)
            for c in range(2):
                inter[c] += ((pred == c) & (mask[chunk] == c)).sum()
                union[c] += ((pred == c) | (mask[chunk] == c)).sum()
    return (inter / union).mean().item()

train, test = torch.arange(900), torch.arange(900, 1100)
net = DeepLab()
groups = [dict(params=net.backbone.parameters(), lr=3e-3), dict(params=[*net.aspp.parameters(), *net.head.parameters()], lr=6e-3)]
opt = torch.optim.Adam(groups)
total = 3 * (len(train) // 32)
poly = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: max(1 - i / total, 0) ** 0.9)
for epoch in range(3):
    net.train()
    for ids in train[torch.randperm(len(train))].split(32):
        if len(ids) < 32: continue
        loss = F.cross_entropy(net(x[ids]), mask[ids])
        opt.zero_grad(); loss.backward(); opt.step(); poly.step()
    print(f'epoch {epoch} loss {loss.item():.3f} mIoU {miou(net, test):.3f}')
