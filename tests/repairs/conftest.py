import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small models: threads cost more than they bring, and seeded results stay the same on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
