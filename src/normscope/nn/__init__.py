"""Normalization layers that PyTorch lacks, and batch normalization written to be read.

All take the words of `torch.nn.BatchNorm*` (`num_features`, `eps`, `momentum`, `affine`, `track_running_stats`, `device`,
`dtype`) and inputs of shape (N, C) or (N, C, *): one class for every number of dimensions. All but `DomainBatchNorm` keep
the parameters and buffers of `torch.nn.BatchNorm2d` under its names, so that checkpoints pass both ways.

| layer | what it is | what it is to `isinstance` |
|---|---|---|
| `BatchNorm` | batch norm, with its derivatives by hand | `_BatchNorm` |
| `BatchRenorm` | batch statistics corrected towards the running ones | `_BatchNorm` |
| `GhostBatchNorm` | statistics of parts of the batch | `_BatchNorm` |
| `MaskedBatchNorm` | statistics without the padding | `_BatchNorm` |
| `FrozenBatchNorm` | fixed statistics, in every mode | `_NormBase` only |
| `DomainBatchNorm` | one set of statistics a domain | a container of `_BatchNorm` |
| `SkipInit` | scale of a residual branch, 0 at first | no norm |

What asks for `torch.nn.modules.batchnorm._BatchNorm` means to freeze, reset, refresh or synchronize *running* batch
statistics: `swa_utils.update_bn`, "put batch norms in eval mode", `SyncBatchNorm.convert_sync_batchnorm`. The first four
want that. (Synchronizing keeps parameters and statistics but takes away what the layer adds: convert first, then
choose.) A frozen layer must be left alone by all of it. The layers of a domain each want it for themselves.
"""

# First: an observed run begins to observe there, and that imports the modules below.
import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]

from normscope.nn.batch_norm import BatchNorm
from normscope.nn.batch_renorm import BatchRenorm
from normscope.nn.domain_batch_norm import DomainBatchNorm, in_domain
from normscope.nn.frozen_batch_norm import FrozenBatchNorm
from normscope.nn.ghost_batch_norm import GhostBatchNorm
from normscope.nn.masked_batch_norm import MaskedBatchNorm
from normscope.nn.skip_init import SkipInit

__all__ = [
    "BatchNorm",
    "BatchRenorm",
    "DomainBatchNorm",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "MaskedBatchNorm",
    "SkipInit",
    "in_domain",
]
