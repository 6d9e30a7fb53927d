import copy, torch, torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(8); torch.set_num_threads(1)
bunch = load_digits()
perm = torch.randperm(len(bunch.target))
images = (torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16)[perm]
target = torch.tensor(bunch.target)[perm]
train_images, test_images = images[:1408], images[1408:]

def view(x):
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    x = torch.roll(x, (dx, dy), (2, 3))
    return x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1)) + 0.05 * torch.randn_like(x)

def encoder():
    return nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                         nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten())

def mlp(i, o):
    return nn.Sequential(nn.Linear(i, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, o))

online = nn.ModuleDict(dict(f=encoder(), g=mlp(128, 32), q=mlp(32, 32)))
momentum = copy.deepcopy(nn.Sequential(online['f'], online['g'])).requires_grad_(False)
opt = torch.optim.Adam(online.parameters(), lr=1e-3)

def distance(p, z):
    return 2 - 2 * F.cosine_similarity(p, z.detach(), dim=-1).mean()

for epoch in range(5):
    for idx in torch.randperm(1408).split(64):
        a, b = view(train_images[idx]), view(train_images[idx])
        pa, pb = (online['q'](online['g'](online['f'](v))) for v in (a, b))
        with torch.no_grad():
            za, zb = momentum(a), momentum(b)
        loss = distance(pa, zb) + distance(pb, za)
        opt.zero_grad(); loss.backward(); opt.step()
        with torch.no_grad():
            for m, o in zip(momentum.parameters(), [*online['f'].parameters(), *online['g'].parameters()]):
                m.mul_(0.98).add_(o, alpha=0.02)
    print('epoch', epoch, 'loss', round(loss.item(), 4))

online.eval()
with torch.no_grad():
    bank, query = F.normalize(online['f'](train_images)), F.normalize(online['f'](test_images))
    nearest = (query @ bank.T).argmax(1)
print('1-nn accuracy', round((target[nearest] == target[1408:]).float().mean().item(), 4))
