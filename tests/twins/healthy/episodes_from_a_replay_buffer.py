"""A policy improves while it fills its own replay buffer: the data drift, but every batch is a fair draw."""

import torch
from torch import nn

torch.manual_seed(2)
torch.set_num_threads(1)
GOAL = torch.tensor([1.5, -1.0])


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, place, move):
        return self.net(torch.cat([place, move], 1))[:, 0]


def reward(place, move):
    return -(place + move - GOAL).square().sum(1)


critic = Critic()
optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
centre, places, moves = torch.zeros(2), [], []
for episode in range(30):
    critic.eval()
    with torch.no_grad():
        start = centre + torch.randn(64, 2)
        tries = 0.5 * torch.randn(8, 64, 2)
        values = torch.stack([critic(start, t) for t in tries])
        best = tries[values.argmax(0), torch.arange(64)]
    places.append(start)
    moves.append(best)
    centre = 0.9 * centre + 0.1 * GOAL
    critic.train()
    all_places, all_moves = torch.cat(places[-10:]), torch.cat(moves[-10:])
    for _ in range(20):
        rows = torch.randint(len(all_places), (64,))
        p, m = all_places[rows], all_moves[rows]
        optimizer.zero_grad()
        nn.functional.mse_loss(critic(p, m), reward(p, m)).backward()
        optimizer.step()
critic.eval()
with torch.no_grad():
    print("error", nn.functional.mse_loss(critic(p, m), reward(p, m)).item())
