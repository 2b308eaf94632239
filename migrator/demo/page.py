"""A page in docs of which every benchmark writes one section, and leaves the others as they are."""

from __future__ import annotations

import re


def with_section(page: str, section: str) -> str:
    """The page with this section in place of the one of the same heading, or at its end.

    A section begins with a line "## heading" and goes on until the next such line.
    """
    heading = section.splitlines()[0]
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    headings = [part.splitlines()[0] if part else "" for part in parts]
    new = section.rstrip() + "\n"
    if heading in headings:
        parts[headings.index(heading)] = new
    else:
        parts.append(new)
    return "\n".join(part.rstrip() + "\n" for part in parts if part)
