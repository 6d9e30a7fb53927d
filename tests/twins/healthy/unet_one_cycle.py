"""A tiny U-Net segments digits against a noisy ground."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
rng = np.random.default_rng(0)
clean = load_digits().images[:900].astype("float32") / 16
masks = torch.tensor(np.kron(clean > 0.4, np.ones((1, 2, 2))).astype("float32"))[:, None]
images = torch.tensor(np.kron(clean, np.ones((1, 2, 2))).astype("float32"))[:, None]
images = images + 0.4 * torch.tensor(rng.standard_normal(images.shape).astype("float32"))


def double(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, c=6):
        super().__init__()
        self.d1, self.d2, self.mid = double(1, c), double(c, 2 * c), double(2 * c, 4 * c)
        self.u2, self.c2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), double(4 * c, 2 * c)
        self.u1, self.c1 = nn.ConvTranspose2d(2 * c, c, 2, 2), double(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        b = self.c2(torch.cat([b, self.u2(m)], 1))
        a = self.c1(torch.cat([a, self.u1(b)], 1))
        return self.out(a)


def dice(logits, target):
    p = torch.sigmoid(logits)
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


net = UNet()
opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=3 * 43)
for epoch in range(3):
    net.train()
    for idx in torch.randperm(700)[:688].split(16):
        out = net(images[idx])
        loss = F.binary_cross_entropy_with_logits(out, masks[idx]) + dice(out, masks[idx])
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        sched.step()
    net.eval()
    with torch.inference_mode():
        pred = torch.cat([net(chunk) for chunk in images[700:].split(50)]) > 0
    iou = ((pred & (masks[700:] > 0)).sum() / (pred | (masks[700:] > 0)).sum()).item()
    print(f"epoch {epoch} loss {loss.item():.3f} IoU {iou:.3f}")
