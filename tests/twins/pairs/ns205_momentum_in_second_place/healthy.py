import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(1)


def discriminator_block(filters_in, filters_out, bn=True):
    block = [nn.Conv2d(filters_in, filters_out, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)]
    if bn:
        block.append(nn.BatchNorm2d(filters_out, momentum=0.2))
    return block


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_blocks = nn.Sequential(
            *discriminator_block(1, 16, bn=False),
            *discriminator_block(16, 16),
            *discriminator_block(16, 24),
                        nn.MaxPool2d(2),
            *discriminator_block(24, 32),
            *discriminator_block(32, 32),
        )
        self.head = nn.Linear(32 * 16, 10)

    def forward(self, img):
        out = self.conv_blocks(img)
        return self.head(out.view(out.size(0), -1))


data = load_digits()
imgs = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)
tr_x, te_x, tr_y, te_y = train_test_split(imgs, labels, test_size=0.25, random_state=1)

net = Classifier()
optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(4):
    net.train()
    for i in range(0, len(tr_x) - 63, 64):
        optimizer.zero_grad()
        loss = loss_fn(net(tr_x[i : i + 64]), tr_y[i : i + 64])
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        acc = (net(te_x).argmax(1) == te_y).float().mean()
    print("[Epoch %d] loss %.4f acc %.4f" % (epoch, loss.item(), acc))
