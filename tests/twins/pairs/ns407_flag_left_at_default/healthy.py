import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class Scope(nn.Module):
    """Convolutions and norms by name, as the old graph code had them."""

    def __init__(self, sizes):
        super().__init__()
        self.kernels = nn.ParameterDict({f"conv{i}": nn.init.kaiming_normal_(torch.empty(o, c, 3, 3)) for i, (c, o) in enumerate(sizes)})
        self.norms = nn.ModuleDict({f"conv{i}": nn.BatchNorm2d(o) for i, (_, o) in enumerate(sizes)})
        self.logits = nn.Linear(4 * sizes[-1][1], 10)

    def conv2d(self, x, name, stride, is_training):
        bn = self.norms[name]
        x = F.conv2d(x, self.kernels[name], stride=stride, padding=1)
        return F.relu(F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, training=is_training))

    def forward(self, x, is_training=True):
        x = self.conv2d(x, "conv0", 1, is_training)
        x = self.conv2d(x, "conv1", 2, is_training)
        x = self.conv2d(x, "conv2", 2, is_training)
        return self.logits(x.flatten(1))


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    x_train, x_test, y_train, y_test = train_test_split(x, torch.tensor(digits.target), test_size=0.3, random_state=1)
    order = y_test.argsort()  # the evaluation folder is sorted by digit
    x_test, y_test = x_test[order], y_test[order]
    net = Scope([(1, 16), (16, 16), (16, 24)])
    train_op = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for epoch in range(5):
        net.train()
        for rows in torch.randperm(len(x_train)).split(48):
            train_op.zero_grad()
            F.cross_entropy(net(x_train[rows], is_training=True), y_train[rows]).backward()
            train_op.step()
        net.eval()
        right = 0
        with torch.no_grad():
            for a, b in zip(x_test.split(27), y_test.split(27)):
                prediction = net(a, is_training=False)
                right += (prediction.argmax(1) == b).sum().item()
        print(epoch, "accuracy", round(right / len(y_test), 3))


main()
