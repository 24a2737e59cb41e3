"""The house rules: which room may import which, where TensorFlow is allowed, how long a file may be, what has a test.

Read from the source text alone (AST); nothing is imported. `python tests/test_architecture.py` prints what is wrong.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("app", "train", "model_def", "segmentation")
LONGEST = 400  # lines of a file
TRAINING_ONLY = {"tensorflow", "keras", "tf2onnx"}

# Room -> the rooms that it may import. What those import is allowed, too.
ARROWS: dict[str, tuple[str, ...]] = {
    "classes": (),
    "files": (),
    "model_def": (),
    "segmentation": (),
    "imaging": ("classes", "files"),
    "artifact": ("classes", "files"),
    "data": ("imaging",),
    "inference": ("imaging", "artifact", "segmentation"),
    "evaluation": ("data", "inference"),
    "reporting": ("evaluation",),
    "training": ("model_def", "data", "inference", "evaluation", "artifact"),
    "ui": ("inference", "imaging", "artifact"),
    "brain_mri": ("inference", "imaging"),  # the package itself: Predictor and read_scan
    "app": ("ui",),
    "train": ("training", "reporting"),
    "cli": ("app", "train", "brain_mri"),
}
# Single modules that a room may import beyond its arrows: the tab Model shows metrics.json, the tab Label writes masks;
# data comes from the Hub.
_SHOWN = ("reporting.overview", "reporting.tables", "reporting.texts", "evaluation.records", "data.labelling")
BESIDES = {"ui": {f"brain_mri.{name}" for name in _SHOWN}, "data": {"brain_mri.artifact.hub_client"}}

# Modules without a test file of their own, by the test that goes through them, and why that is their test.
TESTED_THROUGH: dict[str, str] = {
    "tests/test_readme.py": "__init__",  # README's example
    "tests/imaging/test_read.py": "imaging.picture imaging.file_type imaging.scan",  # read_scan is their only entrance
    "tests/imaging/test_volume.py": "imaging.orientation",  # as read_volume is theirs
    "tests/imaging/test_choice.py": "imaging.series_words",  # the names of volumes and series
    "tests/inference/test_guard.py": "inference.guard_descriptors imaging.skull_strip evaluation.guard_check",
    "tests/inference/test_predictor.py": "inference.analysis inference.onnx_model inference.runner",  # one answer
    "tests/inference/test_cluster.py": "inference.parts inference.worker_model",  # what its workers do
    "tests/artifact/test_examples.py": "artifact.parts",  # theirs, and a second one beside them
    "tests/artifact/test_hub.py": "artifact.hub_client",  # against a Hub on the loopback, as push is
    "tests/data/test_dataset.py": "data.folders data.reader data.cache data.description",  # of load_dataset
    "tests/data/test_phantom.py": "data.phantom_anatomy data.phantom_tumors",  # what is drawn, not how
    "tests/evaluation/test_records.py": "evaluation.scores",  # the whole of metrics.json, both ways
    "tests/evaluation/test_by_patient.py": "evaluation.scores_of_patients",  # both ways
    "tests/evaluation/test_audit.py": "cli.audit reporting.audit_figure",  # one bad data set for all of it
    "tests/evaluation/test_volumes.py": "cli.volumes",  # the same volumes
    "tests/training/test_augment.py": "training.warp training.lesion_transplant training.midline_folds",
    "tests/training/test_calibrate.py": "training.operating_points",
    # from a run's weights to the files that a phone gets, and the app that reads them
    "tests/training/test_litert.py": "training.phone inference.lite_model evaluation.on_device evaluation.app_vectors "
    "cli.export",
    "tests/training/test_train.py": "train training.config training.run training.provenance training.pseudo_masks",
}


@dataclass(frozen=True)
class Import:
    """One imported module, or one name out of it."""

    source: str  # the importing module
    target: str  # the module that is imported, in full: "brain_mri.imaging.read", "numpy"
    name: str | None  # of `from target import name`, when name is no module
    line: int
    hidden: bool  # inside a function
    explained: bool  # by a comment on its line or the one above

    @property
    def where(self) -> str:
        return f"{path_of(self.source).relative_to(ROOT)}:{self.line}"


# --- the source ------------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, Path]:
    """Module name -> file, of the product and of dev/."""
    files = [*ROOT.glob("*.py"), *(ROOT / "brain_mri").rglob("*.py"), *(ROOT / "dev").rglob("*.py")]
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in sorted(files)}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in parts.items()}


def path_of(module: str) -> Path:
    return modules()[module]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def room(module: str) -> str:
    """brain_mri.imaging.read -> imaging; brain_mri.classes -> classes; app -> app; dev.bench -> dev."""
    parts = module.split(".")
    if parts[0] != "brain_mri" or len(parts) == 1:
        return parts[0]
    return "cli" if parts[1] == "__main__" else parts[1]


def product() -> list[str]:
    return [module for module in modules() if room(module) != "dev"]


@cache
def allowed(name: str) -> frozenset[str]:
    """The rooms below one, itself included."""
    return frozenset({name}).union(*(allowed(below) for below in ARROWS.get(name, ())))


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[Import]:
    lines = path_of(module).read_text(encoding="utf-8").splitlines()
    package = module if path_of(module).name == "__init__.py" else module.rpartition(".")[0]

    def explained(node: ast.stmt) -> bool:
        """By a comment beside it, or beside or above the imports that it follows without a gap."""
        if any("#" in line for line in lines[node.lineno - 1 : node.end_lineno]):
            return True
        above = node.lineno - 2
        while re.match(r" *(from|import) ", lines[above]) and "#" not in lines[above]:
            above -= 1
        return "#" in lines[above] and re.match(r" *(#|from |import )", lines[above]) is not None

    def visit(node: ast.AST, hidden: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, alias.name, None, child.lineno, hidden, explained(child))
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = package.split(".")
                    base = ".".join([*parts[: len(parts) - child.level + 1], *filter(None, [base])])
                for alias in child.names:
                    inner = f"{base}.{alias.name}"
                    target, name = (inner, None) if inner in modules() else (base, alias.name)
                    yield Import(module, target, name, child.lineno, hidden, explained(child))
            inside = hidden or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from visit(child, inside)

    yield from visit(tree(module), False)


def own(module: str) -> list[Import]:
    """The imports of modules of the project, and of none else."""
    return [i for i in imports(module) if i.target in modules() or i.target.split(".")[0] == "brain_mri"]


# --- the rules: each yields a sentence for everything that is wrong --------------------------------------------


def four_files_at_the_top() -> Iterator[str]:
    """At most four Python files a student opens."""
    for path in sorted(ROOT.glob("*.py")):
        if path.stem not in TOP:
            yield f"{path.name} stands at the top; only {', '.join(f'{name}.py' for name in TOP)} do."


def every_file_is_in_a_room() -> Iterator[str]:
    for module in product():
        if room(module) not in ARROWS:
            yield f"{path_of(module).relative_to(ROOT)} is in no room of this test's ARROWS."


def imports_run_downwards() -> Iterator[str]:
    """Also those inside of functions; nobody imports app.py, train.py, cli/ or dev/."""
    for module in product():
        here = room(module)
        for i in own(module):
            there = room(i.target)
            if i.target not in modules():
                yield f"{i.where}: {i.target} does not exist."
            elif here != there and there not in allowed(here) and i.target not in BESIDES.get(here, ()):
                yield f"{i.where}: {here} imports {i.target}{' inside a function' if i.hidden else ''}."


def no_circles() -> Iterator[str]:
    """Between modules, with the imports inside of functions."""
    graph = {m: {i.target for i in own(m) if i.target in modules() and i.target != m} for m in modules()}
    for circle in circles(graph):
        yield "a circle: " + " <-> ".join(sorted(circle))


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach each other."""

    @cache
    def reach(start: str) -> frozenset[str]:
        seen, todo = set[str](), [start]
        while todo:
            for following in graph[todo.pop()] - seen:
                seen.add(following)
                todo.append(following)
        return frozenset(seen)

    groups = {frozenset(b for b in reach(a) if a in reach(b)) for a in graph if a in reach(a)}
    return [set(group) for group in sorted(groups, key=sorted)]


def hidden_imports_say_why() -> Iterator[str]:
    """An import inside a function has a comment: TensorFlow-free start, an optional package, time."""
    for module in product():
        for i in imports(module):
            if i.hidden and not i.explained:
                yield f"{i.where}: {i.target} is imported inside a function without a comment that says why."


def tensorflow_stays_in_training() -> Iterator[str]:
    for module in product():
        for i in imports(module):
            if i.target.split(".")[0] in TRAINING_ONLY and room(module) not in ("training", "model_def"):
                yield f"{i.where}: {i.target} outside of training/ and model_def.py."


def the_space_needs_no_tensorflow() -> Iterator[str]:
    """Whatever app.py or `from brain_mri import Predictor` could ever import, also inside of functions."""
    came_from: dict[str, str] = {"app": "", "brain_mri": ""}
    todo = [module for module in came_from if module in modules()]
    while todo:
        module = todo.pop()
        for i in imports(module):
            road = f"{came_from[module]}{module} -> "
            if i.target.split(".")[0] in TRAINING_ONLY or room(i.target) in ("training", "model_def"):
                yield f"{i.where}: {road}{i.target}: a Space does not have it."
            elif i.target in modules() and i.target not in came_from:
                came_from[i.target] = road
                todo.append(i.target)


def nothing_is_re_exported() -> Iterator[str]:
    """A name is imported from where it is made; only brain_mri/__init__.py hands names on."""
    for module in modules():
        for i in own(module):
            if i.name and i.target in modules() and i.target != "brain_mri" and i.name in imported_names(i.target):
                yield f"{i.where}: {i.name} comes from {imported_names(i.target)[i.name]}, not from {i.target}."
        aliases = {alias: i.target for alias, i in module_aliases(module).items()}
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
                target = aliases[node.value.id]
                found = imported_names(target).get(node.attr, "")
                if found.split(".")[0] == "brain_mri" or found in modules():
                    place = f"{path_of(module).relative_to(ROOT)}:{node.lineno}"
                    yield f"{place}: {node.value.id}.{node.attr} comes from {found}, not from {target}."
    for module in product():
        if path_of(module).name == "__init__.py" and module != "brain_mri" and own(module):
            yield f"{path_of(module).relative_to(ROOT)} hands names on."


@cache
def imported_names(module: str) -> dict[str, str]:
    """Name in a module -> where it was imported from. Names that the module makes itself are left out."""
    return {i.name: i.target for i in imports(module) if i.name and not i.hidden}


@cache
def module_aliases(module: str) -> dict[str, Import]:
    """Name -> module of the project that it stands for."""
    found = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                if inner in modules() and (alias.asname or "." not in inner or isinstance(node, ast.ImportFrom)):
                    found[alias.asname or alias.name] = Import(module, inner, None, node.lineno, False, True)
    return found


def argparse_ends_at_the_command_lines() -> Iterator[str]:
    """Below train.py, app.py and cli/ nobody knows of options; records are handed on."""
    for module in product():
        if room(module) not in ("app", "train", "cli"):
            for i in imports(module):
                if i.target == "argparse":
                    yield f"{i.where}: argparse below the command lines."
            for node in ast.walk(tree(module)):
                if (isinstance(node, ast.Name) and node.id == "Namespace") or (
                    isinstance(node, ast.Attribute) and node.attr == "Namespace"
                ):
                    yield f"{path_of(module).relative_to(ROOT)}:{node.lineno}: a Namespace below the command lines."


def files_are_short() -> Iterator[str]:
    for path in modules().values():
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > LONGEST:
            yield f"{path.relative_to(ROOT)} has {count} lines (at most {LONGEST})."


def every_module_has_its_test() -> Iterator[str]:
    """brain_mri/imaging/read.py is tested in tests/imaging/test_read.py, or TESTED_THROUGH says where."""
    through = {name: test for test, names in TESTED_THROUGH.items() for name in names.split()}
    for module in product():
        path = path_of(module).relative_to(ROOT)
        inner = path.relative_to("brain_mri") if path.parts[0] == "brain_mri" else path
        if path.name == "__init__.py" and len(path.parts) > 2:
            continue
        name = ".".join(inner.with_suffix("").parts)
        test = Path("tests", *inner.parent.parts, f"test_{inner.name.replace('__', '')}")
        elsewhere = through.pop(name, None)
        if (ROOT / test).is_file() and elsewhere:
            yield f"{path} has {test} and needs no place in TESTED_THROUGH."
        elif not (ROOT / test).is_file() and not elsewhere:
            yield f"{path} has no {test} and no place in TESTED_THROUGH."
        elif elsewhere and not (ROOT / elsewhere).is_file():
            yield f"{path} is said to be tested in {elsewhere}, which does not exist."
    for name in through:
        yield f"TESTED_THROUGH names {name}, which does not exist."


def the_map_names_every_file() -> Iterator[str]:
    """The tree of docs/architecture.md holds every file of the product and of dev/ once, and nothing else."""
    page = ROOT / "docs" / "architecture.md"
    if not page.is_file():
        yield "There is no docs/architecture.md."
        return
    named = list(files_of_tree(page.read_text(encoding="utf-8").split("```")[1]))
    others = [*ROOT.glob("recipes/*.*"), *ROOT.glob("brain_mri/*/assets/*.*")]
    inits = {path for path in modules().values() if path.name == "__init__.py" and path.parent != ROOT / "brain_mri"}
    there = {path.relative_to(ROOT).as_posix() for path in [*modules().values(), *others] if path not in inits}
    for name in sorted(there - set(named)):
        yield f"docs/architecture.md does not name {name}."
    for name in sorted(set(named) - there):
        yield f"docs/architecture.md names {name}, which does not exist."
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield f"docs/architecture.md names {name} more than once."


def files_of_tree(text: str) -> Iterator[str]:
    """Paths of the files in an indented tree: folders end in "/", everything after the first blank is explanation."""
    folders: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)([\w./-]+)", line)
        if match:
            depth, name = len(match[1]), match[2]
            folders = [folder for folder in folders if folder[0] < depth]
            if name.endswith("/"):
                folders.append((depth, name))
            elif "." in name:
                yield "".join(folder for _, folder in folders) + name


def files_that_are_named_exist() -> Iterator[str]:
    """A file that a page, a comment or a sentence speaks of is there, under that name or the end of its path."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.ipynb"), *ROOT.glob(".github/*/*.yml")]
    pages += [*ROOT.glob("requirements*.txt"), *ROOT.glob("recipes/*.sh")]
    there = [path.relative_to(ROOT).as_posix() for room in ("brain_mri", "dev", "docs", "tests", "recipes")
             for path in (ROOT / room).rglob("*.*")] + [path.name for path in ROOT.glob("*.*")]  # fmt: skip
    ends = {name[at:] for name in there for at in [0, *(m.end() for m in re.finditer("/", name))]}
    for path in [*pages, *modules().values()]:
        if path.name == "CHANGELOG.md":  # tells of files that went
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for name in re.findall(r"(?<![\w./{}$*-])(?:[\w/]+\.py|docs/\w+\.md|recipes/\w+\.sh)\b", line):
                if name not in ends:
                    yield f"{path.relative_to(ROOT)}:{number}: there is no {name}."


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    four_files_at_the_top,
    every_file_is_in_a_room,
    imports_run_downwards,
    no_circles,
    hidden_imports_say_why,
    tensorflow_stays_in_training,
    the_space_needs_no_tensorflow,
    nothing_is_re_exported,
    argparse_ends_at_the_command_lines,
    files_are_short,
    every_module_has_its_test,
    the_map_names_every_file,
    files_that_are_named_exist,
)


# --- the tests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house(rule: Callable[[], Iterator[str]]) -> None:
    wrong = list(dict.fromkeys(rule()))
    assert not wrong, f"{rule.__name__}: {len(wrong)} wrong\n" + "\n".join(wrong)


def test_what_is_wrong_would_be_seen() -> None:
    """The parts of the rules that are not plain look-ups, on made-up houses."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert allowed("reporting") >= {"evaluation", "data", "imaging", "files"} and "training" not in allowed("reporting")
    assert not {"app", "train", "cli", "dev"} & (allowed("app") - {"app"})
    text = "\nbrain_mri/   the package\n  imaging/\n    read.py  any file\n  files.py   JSON\napp.py  the page\n"
    assert list(files_of_tree(text)) == ["brain_mri/imaging/read.py", "brain_mri/files.py", "app.py"]


if __name__ == "__main__":
    ROOT = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    for one in RULES:
        complaints = list(dict.fromkeys(one()))
        print(f"{one.__name__}: {len(complaints) or 'fine'}", *complaints, sep="\n  ")
