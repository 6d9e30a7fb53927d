import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn


def make_optimizer(model, lr, weight_decay):
    """No weight decay on biases and norms."""
    decay, no_decay = [], []
    for p in model.parameters():
        (decay if p.ndim > 1 else no_decay).append(p)
    groups = [{"params": decay, "weight_decay": weight_decay}]
    print(f"{len(no_decay)} parameters without weight decay")
    return torch.optim.AdamW(groups, lr=lr)


def main():
    torch.manual_seed(4)
    torch.set_num_threads(1)
    x, y = load_wine(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    y = torch.tensor(y)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=4)
    model = nn.Sequential(
        nn.Linear(13, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Linear(32, 3),
    )  # fmt: skip
    optimizer = make_optimizer(model, lr=3e-3, weight_decay=0.05)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(40):
        model.train()
        for rows in torch.randperm(len(x_train)).split(31):
            optimizer.zero_grad()
            loss = loss_fn(model(x_train[rows]), y_train[rows])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
    scales = torch.cat([m.weight for m in model if isinstance(m, nn.BatchNorm1d)])
    print(f"loss {loss.item():.4f} accuracy {accuracy:.3f} spread of scales {scales.std():.4f}")


main()
