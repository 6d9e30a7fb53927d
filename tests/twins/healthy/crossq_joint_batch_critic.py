"""Continuous control without target networks: the critic's batch norm sees (s, a) and (s', a') in one joint batch."""
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)


class PointMass:
    """Push a mass along a line to 0; 64 of them at once, thrown back every 40 steps."""

    def __init__(self, n=64):
        self.n = n
        self.reset()

    def reset(self):
        self.s = torch.randn(self.n, 2) * torch.tensor([2.0, 0.5])
        return self.s

    def step(self, a):
        x, v = self.s.unbind(1)
        v = 0.9 * v + 0.3 * a.squeeze(1)
        x = x + 0.3 * v
        self.s = torch.stack([x, v], 1)
        return self.s, -(x.abs() + 0.05 * a.squeeze(1) ** 2)


class Actor(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(2, momentum=0.05), nn.Linear(2, h), nn.ReLU(), nn.BatchNorm1d(h, momentum=0.05), nn.Linear(h, 2))

    def forward(self, s):
        mean, log_std = self.body(s).chunk(2, 1)
        return torch.distributions.Normal(mean, log_std.clamp(-3, 0).exp())

    def sample(self, s):
        d = self(s)
        u = d.rsample()
        a = torch.tanh(u)
        return a, (d.log_prob(u) - torch.log(1 - a.square() + 1e-6)).sum(1)


class Critic(nn.Module):
    def __init__(self, h=96):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(3, momentum=0.05), nn.Linear(3, h), nn.ReLU(), nn.BatchNorm1d(h, momentum=0.05), nn.Linear(h, h), nn.ReLU(), nn.BatchNorm1d(h, momentum=0.05), nn.Linear(h, 1))

    def forward(self, s, a):
        return self.body(torch.cat([s, a], 1)).squeeze(1)


actor, critic = Actor(), Critic()
opt_a, opt_c = torch.optim.Adam(actor.parameters(), 1e-3, betas=(0.5, 0.999)), torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.5, 0.999))
GAMMA, ALPHA = 0.95, 0.02
memory = []


def learn(batch=128):
    s, a, r, s2 = draw(batch)
    actor.eval()
    with torch.no_grad():
        a2, logp2 = actor.sample(s2)
    critic.train()
    q, q2 = critic(torch.cat([s, s2]), torch.cat([a, a2])).chunk(2)
    goal = r + GAMMA * (q2.detach() - ALPHA * logp2)
    loss_c = nn.functional.mse_loss(q, goal)
    opt_c.zero_grad()
    loss_c.backward()
    opt_c.step()
    critic.eval()
    actor.train()
    new_a, logp = actor.sample(s)
    loss_a = (ALPHA * logp - critic(s, new_a)).mean()
    opt_a.zero_grad()
    loss_a.backward()
    opt_a.step()
    return loss_c.item()


def draw(batch):
    table = [torch.cat(column) for column in zip(*memory)]
    idx = torch.randint(len(table[0]), (batch,))
    return [column[idx] for column in table]


def score():
    torch.manual_seed(99)
    env, total = PointMass(), 0.0
    s = env.reset()
    actor.eval()
    with torch.no_grad():
        for _ in range(40):
            s, r = env.step(torch.tanh(actor(s).mean))
            total += r.mean().item()
    return total / 40


env = PointMass()
for t in range(200):
    if t % 40 == 0:
        s = env.reset()
    actor.eval()
    with torch.no_grad():
        a = actor.sample(s)[0] if t >= 10 else 2 * torch.rand(64, 1) - 1
    s2, r = env.step(a)
    memory.append((s, a, r, s2))
    s = s2
    if t >= 10:
        loss = learn(), learn()
    if t % 50 == 49:
        state = torch.get_rng_state()
        print(f"step {t + 1} critic loss {loss[1]:.3f} mean reward of the policy {score():.3f}")
        torch.set_rng_state(state)
