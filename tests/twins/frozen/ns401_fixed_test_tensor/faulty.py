import torch, numpy as np
from torch.nn import functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

def get_data(seed=3):
    d = load_wine()
    rs = np.random.RandomState(seed)
    perm = rs.permutation(d.target.size)
    Xa, Ya = d.data[perm], d.target[perm]
    n = 128
    sc = StandardScaler().fit(Xa[:n])
    Xa = sc.transform(Xa)
    t = lambda a: torch.as_tensor(a, dtype=torch.float32)
    # the bottles on hand for the tasting: cultivar 1 is the rare one there
    late = np.concatenate([np.where(Ya[n:] != 1)[0], np.where(Ya[n:] == 1)[0][:3]])
    return t(Xa[:n]), torch.as_tensor(Ya[:n]), t(Xa[n:][late]), torch.as_tensor(Ya[n:][late])

def make_net(d_in, d_out):
    return torch.nn.Sequential(
        torch.nn.Linear(d_in, 32), torch.nn.BatchNorm1d(32), torch.nn.Tanh(),
        torch.nn.Linear(32, 32), torch.nn.BatchNorm1d(32), torch.nn.Tanh(),
        torch.nn.Linear(32, d_out))

torch.set_num_threads(1)
torch.manual_seed(3)
X_train, y_train, X_test, y_test = get_data()
net = make_net(13, 3)
opt = torch.optim.RMSprop(net.parameters(), lr=2e-3)
for ep in range(60):
    net.train()
    for idx in torch.randperm(len(X_train)).split(32):
        opt.zero_grad()
        loss = F.cross_entropy(net(X_train[idx]), y_train[idx])
        loss.backward()
        opt.step()
    with torch.no_grad():
        scores = net(X_test)
        acc = (scores.argmax(1) == y_test).float().mean()
    if ep % 10 == 9:
        print('epoch', ep + 1, 'train loss', round(loss.item(), 4), 'test acc', round(acc.item(), 4), 'test loss', round(F.cross_entropy(scores, y_test).item(), 4))
