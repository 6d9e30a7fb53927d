"""How many groups a group norm may have: whole ones, and none so small that it erases what it normalizes."""

from __future__ import annotations

from normscope.errors import NormscopeError

USUAL = 32  # Wu & He 2018, arXiv 1803.08494: 32 groups, or 16 channels in each
USUAL_CHANNELS = 8  # in a group, at the least
# Values in a group. With 2 the output is ±1 whatever the input is; 8 keep the scale of their deviation within an eighth.
LEAST = 8


def usual_groups(channels: int) -> int:
    """Where no number is asked for: at most 32 groups, of 8 channels or more.

    On ImageNet 8 to 64 channels in a group do equally well, with 2 the error is 1 point higher, and with one, which is instance norm,
    4 points (Wu & He 2018, table 3, https://arxiv.org/abs/1803.08494).
    """
    return min(USUAL, max(1, channels // USUAL_CHANNELS))


def groups_for(channels: int, positions: int | None, wanted: int | None = None) -> int:
    """The largest number of groups up to `wanted` that divides the channels and leaves `LEAST` values in each.

    `wanted` is `usual_groups` where it is None.
    `positions` of one sample and channel; None where they are not known, which counts as one. Raises NormscopeError where even
    one group has too few values.
    """
    if wanted is None:
        wanted = usual_groups(channels)
    if wanted < 1:
        raise NormscopeError(f"A number of groups of at least 1 was expected; got {wanted}.")
    seen = positions or 1
    for groups in range(min(wanted, channels), 0, -1):
        if channels % groups == 0 and channels // groups * seen >= LEAST:
            return groups
    raise NormscopeError(
        f"{channels} channels at {seen} position{'s' if seen > 1 else ''} are {channels * seen} values for each sample: too few to "
        f"normalize among themselves ({LEAST} are needed)"
    )
