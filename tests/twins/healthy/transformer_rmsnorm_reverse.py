"""A small causal transformer with RMS norm and gated feed-forward learns to write digits backwards."""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
VOCAB, LENGTH, WIDTH, HEADS = 13, 6, 48, 4
SEP = 10


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        n, l, _ = x.shape
        q, k, v = self.qkv(x).view(n, l, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, l, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.attn, self.n2 = RMSNorm(WIDTH), Attention(), nn.RMSNorm(WIDTH)
        self.gate, self.up, self.down = (nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False),
                                         nn.Linear(2 * WIDTH, WIDTH, bias=False))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class LM(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.tok, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(2 * LENGTH + 1, WIDTH)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(depth)), RMSNorm(WIDTH)

    def forward(self, ids):
        x = self.tok(ids) + self.pos(torch.arange(ids.shape[1]))
        for b in self.blocks:
            x = b(x)
        return F.linear(self.norm(x), self.tok.weight)


def batch(n):
    src = torch.randint(10, (n, LENGTH))
    return torch.cat([src, torch.full((n, 1), SEP), src.flip(1)], 1)


model = LM()
decay = [p for p in model.parameters() if p.dim() > 1]
rest = [p for p in model.parameters() if p.dim() <= 1]
opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=4e-3, betas=(0.9, 0.95))
warmup, total = 30, 300
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min((s + 1) / warmup, 0.5 * (1 + math.cos(math.pi * min(s / total, 1)))))
for step in range(total):
    ids = batch(64)
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits[:, LENGTH:].reshape(-1, VOCAB), ids[:, LENGTH + 1:].reshape(-1))
    opt.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    sched.step()
    if step % 100 == 99:
        model.eval()
        with torch.no_grad():
            test = batch(200)
            seq = test[:, :LENGTH + 1]
            for _ in range(LENGTH):
                seq = torch.cat([seq, model(seq)[:, -1].argmax(-1, keepdim=True)], 1)
        exact = (seq == test).all(1).float().mean().item()
        model.train()
        print(f"step {step + 1} loss {loss.item():.3f} exact match {exact:.3f}")
