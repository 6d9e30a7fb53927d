import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.set_num_threads(1)
torch.manual_seed(5)
raw = load_digits()
x = torch.from_numpy(raw.data).float().sub(4.9).div(6.0)
y = torch.from_numpy(raw.target).long()
shuffle = torch.randperm(len(x))
x, y = x[shuffle], y[shuffle]
x_fit, y_fit, x_eval, y_eval = x[:1280], y[:1280], x[1280:], y[1280:]


def make_predictor(net):
    def predict(inputs):
        net.eval()
        with torch.no_grad():
            result = net(inputs).argmax(dim=1)
        net.train()
        return result
    return predict


def make_stepper(net, opt, loss_fn):
    def step(inputs, targets):
        opt.zero_grad()
        loss = loss_fn(net(inputs), targets)
        loss.backward()
        opt.step()
        return loss.item()
    return step


net = nn.Sequential()
width = 64
for k in range(5):
    net.add_module("lin%d" % k, nn.Linear(width, 80))
    net.add_module("bn%d" % k, nn.BatchNorm1d(80))
    net.add_module("act%d" % k, nn.LeakyReLU(0.1))
    width = 80
net.add_module("logits", nn.Linear(width, 10))

predict = make_predictor(net)
step = make_stepper(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss())

net.train()
for it in range(400):
    i = (it * 32) % 1280
    loss = step(x_fit[i:i + 32], y_fit[i:i + 32])
    if it % 25 == 0:
        acc = predict(x_eval).eq(y_eval).float().mean().item()
        print("it", it, "loss %.3f" % loss, "held-out accuracy %.3f" % acc)
print("held-out accuracy %.3f" % predict(x_eval).eq(y_eval).float().mean().item())
