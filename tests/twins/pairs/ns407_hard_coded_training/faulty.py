import numpy
import torch
from sklearn import datasets, model_selection
from torch import nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    def __init__(self, n):
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.ones(n))
        self.bias = nn.Parameter(torch.zeros(n))
        self.register_buffer('running_mean', torch.zeros(n))
        self.register_buffer('running_var', torch.ones(n))

    def forward(self, input):
        return functional.batch_norm(input, self.running_mean, self.running_var,
                                     self.weight, self.bias, training=True)


class ConvNet(nn.Module):
    def __init__(self):
        nn.Module.__init__(self)
        self.c1, self.n1 = nn.Conv2d(1, 12, 3, 1, 1), ChannelNorm(12)
        self.c2, self.n2 = nn.Conv2d(12, 24, 3, 2, 1), ChannelNorm(24)
        self.c3, self.n3 = nn.Conv2d(24, 24, 4, 1, 0), ChannelNorm(24)
        self.l = nn.Linear(24, 10)

    def forward(self, x):
        x = self.n1(self.c1(x)).relu()
        x = self.n2(self.c2(x)).relu()
        x = self.n3(self.c3(x)).relu()
        return self.l(x.flatten(1))


def minibatches(images, labels, size):
    order = numpy.random.permutation(len(labels))
    for k in range(len(labels) // size):
        pick = order[k * size:(k + 1) * size]
        yield images[pick], labels[pick]


def by_label(images, labels, size):
    order = numpy.argsort(labels.numpy(), kind='stable')
    for k in range(0, len(order), size):
        yield images[order[k:k + size]], labels[order[k:k + size]]


numpy.random.seed(1)
torch.manual_seed(1)
torch.set_num_threads(1)
digits = datasets.load_digits()
i_train, i_test, l_train, l_test = model_selection.train_test_split(
    digits.images[:, None].astype('float32') / 16, digits.target, test_size=0.25, random_state=1)
i_train, i_test, l_train, l_test = map(torch.from_numpy, (i_train, i_test, l_train, l_test))

model = ConvNet()
solver = torch.optim.Adam(model.parameters(), 2e-3)
for epoch in range(6):
    model.train()
    for images, labels in minibatches(i_train, l_train, 60):
        solver.zero_grad()
        cost = functional.cross_entropy(model(images), labels)
        cost.backward()
        solver.step()
    print('epoch', epoch, 'cost', round(cost.item(), 4))

model.eval()
correct = 0
with torch.no_grad():
    for images, labels in by_label(i_test, l_test, 15):
        correct += int((model(images).max(dim=1).indices == labels).sum())
print('accuracy on %d test images: %.4f' % (len(l_test), correct / len(l_test)))
