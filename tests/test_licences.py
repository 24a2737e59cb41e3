"""What serves is free of the GPL and the AGPL: the README promises a program under the MIT licence."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
GPL = re.compile(r"(?<![A-Za-z])A?GPL|(?<!Lesser )(?<!Library )General Public License", re.IGNORECASE)
RUNTIME = re.compile(r"GPL-3\.0(-or-later|-only)? WITH GCC-exception-3\.1", re.IGNORECASE)  # libgfortran: no bonds


def serving() -> dict[str, metadata.Distribution]:
    """Every package that `pip install -r requirements-space.txt gradio` brings into this environment, by name."""
    lines = (ROOT / "requirements-space.txt").read_text().splitlines()
    wanted = [Requirement(line.split("#")[0]) for line in [*lines, "gradio"] if line.split("#")[0].strip()]
    found: dict[str, metadata.Distribution] = {}
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found:
            continue
        found[name] = metadata.distribution(name)  # one that is missing is a fault of the environment
        for line in found[name].requires or ():
            below = Requirement(line)
            extras = requirement.extras or {""}
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(below)
    return found


def stated(package: metadata.Distribution) -> list[str]:
    """The licences that a package states, of which any one may be chosen; all that its classifiers name hold."""
    about = package.metadata
    expression = str((about.get_all("License-Expression") or [""])[0])
    if expression:
        return expression.split(" OR ")
    classifiers = [c for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    field = str((about.get_all("License") or [""])[0]).strip()
    return [" AND ".join(classifiers) or (field.splitlines()[0] if field else "")]


def is_gpl(licences: list[str]) -> bool:
    return all(GPL.search(RUNTIME.sub("", licence)) for licence in licences)


def test_nothing_that_serves_is_under_the_gpl() -> None:
    packages = serving()
    assert {"pydicom", "gradio", "onnxruntime", "pyjpegls", "pylibjpeg-openjpeg"} <= set(packages) and len(
        packages
    ) > 30
    bound = {name: stated(package) for name, package in packages.items() if is_gpl(stated(package))}
    assert not bound, f"{bound} of {len(packages)} packages"
    unknown = [name for name, package in packages.items() if not any(stated(package))]
    assert not unknown, f"{unknown} state no licence"


@pytest.mark.parametrize(
    ("licences", "bound"),
    [
        (["MIT"], False),
        (["GPL-3.0-or-later"], True),
        (["AGPL-3.0"], True),
        (["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"], True),
        (["License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"], False),
        (["LGPL-2.1"], False),
        (
            ["License :: OSI Approved :: MIT License AND License :: OSI Approved :: GNU Affero General Public License"],
            True,
        ),
        (["MIT", "GPL-2.0"], False),
        (["BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"], False),
        (["BSD-3-Clause AND GPL-2.0"], True),
    ],
)
def test_what_counts_as_gpl(licences: list[str], bound: bool) -> None:
    assert is_gpl(licences) == bound
