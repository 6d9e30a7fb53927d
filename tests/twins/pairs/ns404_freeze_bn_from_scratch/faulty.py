# Digits from scratch with a VGG-like net.
import torch
from torch import nn
from torch.utils.data import TensorDataset, DataLoader
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class VGG(nn.Module):
    cfg = [16, 16, "M", 32, 32, "M", 48]

    def __init__(self, num_classes=10):
        super().__init__()
        layers, c = [], 1
        for v in self.cfg:
            if v == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(c, v, 3, padding=1), nn.BatchNorm2d(v), nn.ReLU(True)]
                c = v
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(c * 4, num_classes)

    def forward(self, x):
        x = self.features(x)
        return self.classifier(torch.flatten(x, 1))


def set_bn_eval(m):
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.eval()


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X_tr, X_te, y_tr, y_te = train_test_split(X / 16.0, y, test_size=0.25, random_state=11)
    mk = lambda a, b: TensorDataset(torch.FloatTensor(a).view(-1, 1, 8, 8), torch.LongTensor(b))
    loader = DataLoader(mk(X_tr, y_tr), 64, shuffle=True, drop_last=True)
    test = DataLoader(mk(X_te, y_te), 150)
    model = VGG()
    crit = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=1e-4)
    for ep in range(6):
        model.train()
        model.apply(set_bn_eval)
        tot = 0.
        for data, target in loader:
            opt.zero_grad()
            out = model(data)
            loss = crit(out, target)
            loss.backward()
            opt.step()
            tot += loss.item()
        model.eval()
        ok = 0
        with torch.no_grad():
            for data, target in test:
                ok += model(data).max(1)[1].eq(target).sum().item()
        print('Epoch: %d | Loss: %.3f | Acc: %.3f%%' % (ep, tot / len(loader), 100. * ok / len(y_te)))


if __name__ == '__main__':
    main()
