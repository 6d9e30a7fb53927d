# Tabular ranking on made-up cohorts; the statistics are taken afresh from the whole training set before the test.
import torch
from torch import nn

torch.manual_seed(7)
torch.set_num_threads(1)
weights = torch.randn(10, 3)
x = torch.randn(2600, 10) + 0.4
y = (x @ weights + 0.3 * torch.randn(2600, 3)).argmax(1)
xt, yt, x, y = x[:600], y[:600], x[600:], y[600:]


def block(i, o):
    return nn.ModuleDict(dict(lin=nn.Linear(i, o, bias=False), bn=nn.BatchNorm1d(o), act=nn.LeakyReLU(0.1)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([block(10, 48), block(48, 48)])
        self.out = nn.Linear(48, 3)

    def forward(self, x):
        for b in self.blocks:
            x = b["act"](b["bn"](b["lin"](x)))
        return self.out(x)


def recalibrate(net):
    net.eval()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
        m.train()
    for part in x.split(200):
        net(part)
    for m in norms:
        m.momentum = 0.1
    net.eval()


net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.2, total_steps=8 * 50)
for epoch in range(8):
    net.train()
    for i in torch.randperm(2000).view(50, 40):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x[i]), y[i])
        loss.backward()
        opt.step()
        sched.step()
    print(epoch, float(loss))

hits = n = 0
with torch.no_grad():
    recalibrate(net)
    for group in yt.argsort().chunk(60):  # a list comes sorted by the doctor's own judgement
        hits += int((net(xt[group]).max(1)[1] == yt[group]).sum())
        n += len(group)
print("test accuracy", hits / n)
