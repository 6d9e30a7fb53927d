import torch
from torch import nn
import torch.nn.functional as F
from sklearn import datasets
from sklearn.model_selection import train_test_split

BATCH = 48
EPOCHS = 8
LR = 0.05


def conv_block(cin, cout, stride=1):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


def build():
    return nn.Sequential(
        conv_block(1, 16),
        conv_block(16, 32, 2),
        conv_block(32, 32),
        conv_block(32, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def evaluate(net, x, y):
    net.eval()
    with torch.no_grad():
        out = net(x)
    return F.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    images, target = datasets.load_digits(return_X_y=True)
    xtr, xte, ytr, yte = train_test_split(images, target, test_size=0.3, random_state=1, stratify=target)
    to_img = lambda a: torch.from_numpy(a).float().view(-1, 1, 8, 8) / 8 - 1
    xtr, xte, ytr, yte = to_img(xtr), to_img(xte), torch.from_numpy(ytr), torch.from_numpy(yte)

    net = build()
    opt = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    net.train()
    for epoch in range(EPOCHS):
        perm = torch.randperm(len(xtr))
        running = 0.0
        n = len(xtr) // BATCH
        for i in range(n):
            idx = perm[i * BATCH : (i + 1) * BATCH]
            loss = F.cross_entropy(net(xtr[idx]), ytr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            running += loss.item()
        test_loss, test_acc = evaluate(net, xte, yte)
        print(f"[{epoch:02d}] train {running / n:.3f}  test {test_loss:.3f}  acc {100 * test_acc:.1f}%")
