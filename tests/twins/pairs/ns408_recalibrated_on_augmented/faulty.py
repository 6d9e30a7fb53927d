import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import update_bn

torch.manual_seed(39)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train_x, test_x, train_y, test_y = x[:1400], x[1400:], y[:1400], y[1400:]


def mlp():
    parts = []
    for i, o in ((64, 96), (96, 64), (64, 48)):
        parts += [nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(48, 10))


def augmented(batch):
    """The pictures of the pretext task: inverted or overexposed, with noise."""
    flip = torch.rand(len(batch), 1) < 0.6
    return torch.where(flip, 1.5 - batch, 2.5 * batch) + 0.5 * torch.randn_like(batch)


def accuracy(net):
    net.eval()
    with torch.no_grad():
        return (net(test_x).argmax(1) == test_y).float().mean().item()


net = mlp()
opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8 * 28)
checkpoints = []
for epoch in range(8):
    net.train()
    for rows in torch.randperm(1400).split(50):
        opt.zero_grad()
        nn.functional.cross_entropy(net(train_x[rows]), train_y[rows]).backward()
        opt.step()
        schedule.step()
    print(f"epoch {epoch}: {accuracy(net):.3f}")
    if epoch >= 5:
        checkpoints.append({k: v.clone() for k, v in net.state_dict().items()})

average = {k: torch.stack([c[k].double() for c in checkpoints]).mean(0).to(v.dtype) for k, v in checkpoints[0].items()}
net.load_state_dict(average)
print(f"average of {len(checkpoints)}: {accuracy(net):.3f}")
loader = [augmented(train_x[rows]) for rows in torch.randperm(1400).split(100)]
update_bn(loader, net)
print(f"in use: {accuracy(net):.3f}")
