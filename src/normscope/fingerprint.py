"""A finding's identity across runs: what it is about, not the numbers that it measured or the line that it stands on."""

from __future__ import annotations

import hashlib

from normscope.finding import Finding


def fingerprint(finding: Finding) -> str:
    """16 hexadecimal digits from code, model and layers: equal for the same fault after edits elsewhere in the file."""
    identity = "\0".join((finding.code, finding.model, *sorted(finding.layers)))
    return hashlib.sha256(identity.encode("utf-8", "backslashreplace")).hexdigest()[:16]
