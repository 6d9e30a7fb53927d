# %% [markdown]
# # Baseline: 4 folds, batch-norm MLP, out-of-fold AUC, test = mean of folds

# %%
import gc, copy
import numpy as np
import torch, torch.nn as nn
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

SEED, FOLDS, EPOCHS, BS = 42, 4, 6, 128
np.random.seed(SEED); torch.manual_seed(SEED); torch.set_num_threads(1)

# %%
X, y = make_classification(4000, 40, n_informative=12, n_redundant=10, flip_y=0.05, class_sep=0.8, random_state=SEED)
X = (X * np.logspace(-2, 3, 40)).astype('float32')
X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=SEED)
mean, std = X.mean(0), X.std(0)
X, X_test = (X - mean) / std, (X_test - mean) / std

# %%
class Model(nn.Module):
    def __init__(self, num_features, hidden=96):
        super().__init__()
        self.batch_norm1 = nn.BatchNorm1d(num_features)
        self.dense1 = nn.utils.parametrizations.weight_norm(nn.Linear(num_features, hidden))
        self.batch_norm2 = nn.BatchNorm1d(hidden)
        self.dropout2 = nn.Dropout(0.2)
        self.dense2 = nn.utils.parametrizations.weight_norm(nn.Linear(hidden, hidden))
        self.batch_norm3 = nn.BatchNorm1d(hidden)
        self.dropout3 = nn.Dropout(0.2)
        self.dense3 = nn.utils.parametrizations.weight_norm(nn.Linear(hidden, 1))
    def forward(self, x):
        x = nn.functional.leaky_relu(self.dense1(self.batch_norm1(x)))
        x = nn.functional.leaky_relu(self.dense2(self.dropout2(self.batch_norm2(x))))
        return self.dense3(self.dropout3(self.batch_norm3(x))).squeeze(1)

# %%
oof, preds = np.zeros(len(y)), np.zeros(len(y_test))
for fold, (tr, va) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(X, y)):
    model = Model(X.shape[1])
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=1e-2, epochs=EPOCHS, steps_per_epoch=int(np.ceil(len(tr) / BS)))
    xt, yt = torch.tensor(X[tr]), torch.tensor(y[tr], dtype=torch.float32)
    xv, xs = torch.tensor(X[va]), torch.tensor(X_test)
    best, best_auc = None, 0
    for epoch in range(EPOCHS):
        model.train()
        for b in torch.randperm(len(tr)).split(BS):   # 2250 = 17 * 128 + 74
            opt.zero_grad()
            loss = nn.BCEWithLogitsLoss()(model(xt[b]), yt[b] * 0.98 + 0.01)
            loss.backward(); opt.step(); sch.step()
        model.eval()
        with torch.no_grad():
            auc = roc_auc_score(y[va], model(xv).sigmoid().numpy())
        if auc > best_auc:
            best_auc, best = auc, copy.deepcopy(model.state_dict())
    model.load_state_dict(best); model.eval()
    with torch.no_grad():
        oof[va] = model(xv).sigmoid().numpy()
        preds += model(xs).sigmoid().numpy() / FOLDS
    print(f'fold {fold} best auc {best_auc:.4f}')
    del model, opt; gc.collect()

# %%
print(f'OOF AUC {roc_auc_score(y, oof):.4f}  test AUC {roc_auc_score(y_test, preds):.4f}')
