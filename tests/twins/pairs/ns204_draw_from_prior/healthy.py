# Bayesian-style start: all parameters are one flat vector, drawn from a Gaussian prior; then a MAP estimate by SGD.
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

PRIOR_STD = 0.1


def network(width, depth):
    layers, size = [], 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.LayerNorm(width), nn.GELU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


def prior_mean(net):
    scales = {id(m.weight) for m in net if isinstance(m, nn.LayerNorm)}
    return torch.cat([torch.full((p.numel(),), float(id(p) in scales)) for p in net.parameters()])


def draw(net, generator):
    mean = prior_mean(net)
    theta = mean + PRIOR_STD * torch.randn(len(mean), generator=generator)
    vector_to_parameters(theta, net.parameters())


def log_prior(net, mean):
    return -(parameters_to_vector(net.parameters()) - mean).square().sum() / (2 * PRIOR_STD**2)


def log_likelihood(net, x, y, scale):
    return scale * torch.distributions.Categorical(logits=net(x)).log_prob(y).sum()


def map_estimate(net, x, y, generator, steps=200, batch=64, lr=0.05):
    mean, n = prior_mean(net), len(x)
    sgd = torch.optim.SGD(net.parameters(), lr, momentum=0.8)
    for _ in range(steps):
        i = torch.randint(n, (batch,), generator=generator)
        objective = -(log_likelihood(net, x[i], y[i], n / batch) + 0.01 * log_prior(net, mean)) / n
        sgd.zero_grad()
        objective.backward()
        sgd.step()


torch.set_num_threads(1)
g = torch.Generator().manual_seed(2)
x, y = map(torch.as_tensor, load_digits(return_X_y=True))
x = (x.float() - 5) / 6
order = torch.randperm(len(x), generator=g)
train, test = order[:1300], order[1300:]
net = network(width=64, depth=5)
draw(net, g)
map_estimate(net, x[train], y[train], g)
net.eval()
with torch.no_grad():
    print("test accuracy %.3f" % (net(x[test]).argmax(-1) == y[test]).float().mean())
