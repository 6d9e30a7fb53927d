"""The default compiler; needs a C++ compiler."""

import torch
from transforms import Net, train


def compiled():
    model = Net()
    x = torch.randn(8, 2, 6, 6)
    train(torch.compile(model, fullgraph=True), x, "compiled")
    model.eval()
    with torch.no_grad():
        print(float(model(x).sum()))
    return (model,)


SCRIPTS = [compiled]
