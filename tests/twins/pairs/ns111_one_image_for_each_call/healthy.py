"""A classifier behind a function that takes one image, as a small web service would call it."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.gamma, self.beta = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("var", torch.ones(outputs))
        self.stride = stride
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x):
        x = F.conv2d(x, self.weight, stride=self.stride, padding=1)
        x = F.batch_norm(x, self.mean, self.var, self.gamma, self.beta, training=self.training, momentum=0.1)
        return F.relu(x)


class Service:
    def __init__(self, network):
        self.network = network.eval()

    @torch.inference_mode()
    def answer(self, image):
        return int(self.network(image[None, None]).argmax())


torch.manual_seed(13)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
network = nn.Sequential(ConvNorm(1, 16), ConvNorm(16, 24, 2), ConvNorm(24, 32, 2), nn.Flatten(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(network.parameters(), 2e-3)
for epoch in range(5):
    for rows in torch.randperm(1300).split(26):
        loss = F.cross_entropy(network(images[rows, None]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
service = Service(network)
answers = [service.answer(image) for image in images[1300:]]
right = sum(a == int(b) for a, b in zip(answers, labels[1300:]))
print(f"answers right: {right / len(answers):.3f}")
