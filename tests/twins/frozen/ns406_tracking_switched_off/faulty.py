import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from sklearn.datasets import load_diabetes

class Diabetes(Dataset):
    def __init__(self, part):
        b = load_diabetes(scaled=False)
        order = np.random.RandomState(0).permutation(len(b.target))
        rows = order[:352] if part == 'train' else order[352:]
        ref = order[:352]
        self.x = b.data[rows].astype(np.float32)
        self.y = ((b.target[rows] - b.target[ref].mean()) / b.target[ref].std()).astype(np.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.BatchNorm1d(10)
        self.hidden = nn.Linear(10, 32)
        self.norm = nn.BatchNorm1d(32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.hidden(self.inp(x))))).squeeze(1)

def track(model, flag):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.track_running_stats = flag

def r2(model, loader):
    model.eval()
    track(model, True)
    res, tot = 0., 0.
    with torch.no_grad():
        for x, y in loader:
            res += (model(x) - y).pow(2).sum().item()
            tot += (y - y.mean()).pow(2).sum().item()
    return 1 - res / tot

torch.manual_seed(0)
torch.set_num_threads(1)
train = DataLoader(Diabetes('train'), batch_size=44, shuffle=True)
test = DataLoader(Diabetes('test'), batch_size=90)
model = Net()
opt = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
for epoch in range(25):
    model.train()
    track(model, False)
    for x, y in train:
        loss = nn.functional.mse_loss(model(x), y)
        opt.zero_grad(); loss.backward(); opt.step()
    if epoch % 5 == 4:
        print('epoch %2d  mse %.3f  R2 on test %.3f' % (epoch + 1, loss.item(), r2(model, test)))
