"""Under torch.distributed: statistics of all ranks together, and errors of one told to all. Two processes over gloo."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from repairs.models import inputs, mlp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available(), reason="torch without distributed"),
]
RANKS = 2


def run(rank, port, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    model = mlp(0.0).train()
    state = model.state_dict()
    state = {k: v.clone() for k, v in state.items()}
    shards = [inputs(sizes=(50, 46)), inputs(sizes=(96,), seed=2)]
    found = {}

    def fresh():
        model.load_state_dict(state)
        return model

    certificate = recalibrate(fresh(), shards[rank])
    found["pooled"] = {k: v.clone() for k, v in model.state_dict().items()}
    found["certificate"] = (certificate.ranks, certificate.samples, certificate.layers[0].values)
    recalibrate(nn.parallel.DistributedDataParallel(fresh()), shards[rank], exact=True)
    found["exact"] = {k: v.clone() for k, v in model.state_dict().items()}
    recalibrate(fresh(), shards[rank], ranks="own")
    found["own"] = {k: v.clone() for k, v in model.state_dict().items()}
    pairs = [(x, torch.zeros(len(x), 2)) for s in shards[rank : rank + 1] for x in s[0].split(10)]
    judged = recalibrate(fresh(), pairs, loss=nn.MSELoss(), keep="better")
    found["judged"] = (judged.kept, judged.score)
    try:
        recalibrate(fresh(), shards[rank] if rank else [torch.randn(4, 3)])
    except (NormscopeError, RuntimeError) as error:
        found["error"] = f"{type(error).__name__}: {error}"
    found["after error"] = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        recalibrate(fresh(), shards[rank], layers=["nope"] if rank else None)
    except NormscopeError as error:
        found["wrong name"] = str(error)
    results[rank] = found
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(run, args=(port, results), nprocs=RANKS)
        return [dict(results[r]) for r in range(RANKS)]


@pytest.fixture(scope="module")
def alone():
    torch.manual_seed(0)
    model = mlp(0.0).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    batches = [*inputs(sizes=(50, 46)), *inputs(sizes=(96,), seed=2)]
    found = {}
    for name in ("pooled", "exact"):
        model.load_state_dict(state)
        recalibrate(model, batches, exact=name == "exact")
        found[name] = {k: v.clone() for k, v in model.state_dict().items()}
    return found


@pytest.mark.parametrize("way", ["pooled", "exact"])
def test_both_ranks_have_the_statistics_of_one_process_that_sees_all(way, ranks, alone):
    for key, value in alone[way].items():
        assert torch.equal(ranks[0][way][key], ranks[1][way][key])
        torch.testing.assert_close(ranks[0][way][key], value, rtol=1e-6, atol=1e-7)


def test_the_certificate_counts_all_ranks(ranks):
    assert ranks[0]["certificate"] == ranks[1]["certificate"] == (2, 192, 192)


def test_a_rank_can_do_it_on_its_own(ranks):
    assert not torch.equal(ranks[0]["own"]["5.running_var"], ranks[1]["own"]["5.running_var"])


def test_ranks_decide_alike(ranks):
    assert ranks[0]["judged"] == ranks[1]["judged"]


def test_an_error_of_one_rank_ends_all_of_them(ranks):
    assert ranks[0]["error"].startswith("RuntimeError")
    assert "Rank 0 failed, so all of them stop: RuntimeError" in ranks[1]["error"]
    for found in ranks:
        assert not found["after error"]["1.running_mean"].any()
    assert "Rank 1 failed" in ranks[0]["wrong name"]
    assert "names `nope`" in ranks[1]["wrong name"]
