"""How many groups a group norm may have: whole ones, and none so small that it erases what it normalizes."""

from __future__ import annotations

from normscope.errors import NormscopeError

USUAL = 32  # Wu & He 2018, arXiv 1803.08494: 32 groups, or 16 channels in each
# Values in a group. With 2 the output is ±1 whatever the input is; 8 keep the scale of their deviation within an eighth.
LEAST = 8


def groups_for(channels: int, positions: int | None, wanted: int = USUAL) -> int:
    """The largest number of groups up to `wanted` that divides the channels and leaves `LEAST` values in each.

    `positions` of one sample and channel; None where they are not known, which counts as one. Raises NormscopeError where even
    one group has too few values.
    """
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
