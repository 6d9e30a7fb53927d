"""What a reshape does to dimensions, the same in every framework. Imports none."""

from __future__ import annotations

Sources = tuple[tuple[int, ...], ...]


def regrouped(before: tuple[int, ...], after: tuple[int, ...]) -> Sources:
    """The sources of a reshape: the finest groups of neighbouring dimensions with equal products.

    >>> regrouped((4, 6, 8, 8), (4, 384))
    ((0,), (1, 2, 3))
    """
    if 0 in before:
        return (before == after and tuple((d,) for d in range(len(before)))) or ()
    result: list[tuple[int, ...]] = []
    i = j = 0
    while j < len(after):
        if i < len(before) and before[i] == after[j]:
            result.append((i,))
            i, j = i + 1, j + 1
        elif after[j] == 1:
            result.append(())
            j += 1
        elif i < len(before) and before[i] == 1:
            i += 1
        else:
            first_in, first_out, size_in, size_out = i, j, before[i], after[j]
            i, j = i + 1, j + 1
            while size_in != size_out:
                if size_in < size_out:
                    size_in *= before[i]
                    i += 1
                else:
                    size_out *= after[j]
                    j += 1
            group = tuple(d for d in range(first_in, i) if before[d] != 1)
            result += [group if after[k] != 1 else () for k in range(first_out, j)]
    return tuple(result)
