"""`emo-llama doctor`: what is installed here, whether it works, and what to type where it does not.

What is wanted is read from the package's own metadata. All is imported in another process, so that
nothing that is broken keeps the rest from being told.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emo_llama import __version__
from emo_llama.cli import _output
from emo_llama.cli._probes import probed
from emo_llama.escaping import printable

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "emo-llama"
BASE = "base"
MACHINE = "machine"
TRAP = "torchvision"
LABEL = "happiness"
"""What the portrait shows."""
GIGABYTE = 1e9
ROOM = 1.0
"""Gigabytes of memory and of disk below which the doctor warns: the shipped model needs half."""
MARKS = {"ok": "ok", "note": "note", "absent": "-", "warning": "warn", "failed": "FAIL"}

EXAMPLES = """examples:
  emo-llama doctor
  emo-llama doctor --format json
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        part (`str`): `"base"`, `"machine"` or an extra.
        name (`str`): Of what.
        state (`str`): `"ok"`; `"note"`, worth knowing; `"absent"`, optional and not here;
            `"warning"`, here and not as it was tested; `"failed"`, does not work.
        found (`str`): What is here.
        advice (`str`): What to type or to do; empty where all is well.
    """

    part: str
    name: str
    state: str
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options.

    Args:
        parser (`argparse.ArgumentParser`):
            The verb's parser.
    """
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="what goes to stdout (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb.

    Args:
        args (`argparse.Namespace`):
            Its options.

    Returns:
        `int`: 0 where the base works, 1 otherwise; optional parts do not decide.
    """
    checks = examine()
    works = not any(c.state == "failed" and c.part in (BASE, MACHINE) for c in checks)
    if args.format == "json":
        report = {"works": works, "version": __version__, "checks": [asdict(c) for c in checks]}
        _output.data(json.dumps(report, indent=2))
    else:
        _output.data("\n".join(_lines(checks, works)))
    return 0 if works else 1


def examine() -> list[Check]:
    """Looks at everything.

    Returns:
        `list[Check]`: The base first, then the machine, then each extra.
    """
    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(line) for line in metadata.requires(NAME) or ()]
    except ImportError as error:  # of packaging, or no metadata: a folder that is not installed
        return [
            Check(BASE, NAME, "failed", f"what it needs cannot be read ({error})", _install(NAME))
        ]
    base, extras = _sorted(wanted)
    optional = {need.name: need for needs in extras.values() for need in needs}
    versions = {name: _version(name) for name in {need.name for need in base} | optional.keys()}
    modules = {name: _module(name) for name, found in versions.items() if found}
    tried = [*modules.values(), ":device", ":cache", ":model"]
    if _version(TRAP):
        tried.append(TRAP)  # last: it breaks what is imported behind it
    results = probed(tried)
    errors = {name: results[module].get("error") for name, module in modules.items()}

    checks = [_python()]
    checks += [_package(BASE, need, versions[need.name], errors.get(need.name)) for need in base]
    checks += [*_trap(results), *_machine(results)]
    for extra, needs in extras.items():
        checks += [_package(extra, n, versions[n.name], errors.get(n.name)) for n in needs]
        if not needs:
            found = f"nothing of it is made for Python {platform.python_version()}"
            checks.append(Check(extra, extra, "absent", found))
    return checks


def _sorted(wanted: "Iterable[Requirement]") -> "tuple[list[Requirement], dict[str, list]]":
    """Requirements of the base, and those of each extra that hold for this Python."""
    base: list[Requirement] = []
    others: list[Requirement] = []
    for need in wanted:
        marker = need.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        (base if plain else others).append(need)
    names = metadata.metadata(NAME).get_all("Provides-Extra") or []
    extras = {
        extra: [n for n in others if n.marker is not None and n.marker.evaluate({"extra": extra})]
        for extra in names
    }
    return base, extras


def _version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _module(name: str) -> str:
    """What a distribution is imported as: the package in it that lies highest."""
    plain = name.lower().replace("-", "_")
    files = [file for file in metadata.files(name) or () if file.suffix == ".py"]
    packages = [file.parent.parts for file in files if file.name == "__init__.py"]
    packages += [(file.stem,) for file in files if len(file.parts) == 1]
    public = [".".join(parts) for parts in packages if not parts[0].startswith("_")]
    return plain if plain in public or not public else min(public, key=lambda n: (n.count("."), n))


def _python() -> Check:
    """The interpreter."""
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata(NAME)["Requires-Python"]
    found = platform.python_version()
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Check(BASE, "Python", "ok", f"{found} ({sys.executable})")
    advice = f"make a virtual environment with Python {wanted}, and install {NAME} there"
    return Check(BASE, "Python", "failed", f"{found}, expected {wanted}", advice)


def _package(part: str, need: "Requirement", found: str | None, error: str | None) -> Check:
    """One requirement: is it here, within its bounds, and can it be imported?"""
    wanted = f'"{need.name}{need.specifier}"'
    whole = _install(wanted if part == BASE else f'"{NAME}[{part}]"')
    if found is None:
        state = "failed" if part == BASE else "absent"
        return Check(part, need.name, state, f"not installed, expected {need.specifier}", whole)
    if error:
        advice = _install(f"--force-reinstall --no-deps {wanted}")
        return Check(part, need.name, "failed", f"{found} cannot be imported: {error}", advice)
    if not need.specifier.contains(found, prereleases=True):
        outside = f"{found}, tested is {need.specifier}"
        return Check(part, need.name, "warning", outside, _install(wanted))
    return Check(part, need.name, "ok", found)


def _trap(results: dict[str, dict[str, Any]]) -> list[Check]:
    """Says whether torchvision is here: one that cannot be imported breaks transformers."""
    if TRAP not in results:
        return []
    found, error = _version(TRAP) or "", results[TRAP].get("error")
    if error:
        advice = f"{sys.executable} -m pip uninstall {TRAP}; nothing here needs it"
        return [Check(BASE, TRAP, "failed", f"{found} does not fit this PyTorch: {error}", advice)]
    return [Check(BASE, TRAP, "note", f"{found}; not needed, and it fits this PyTorch")]


def _machine(results: dict[str, dict[str, Any]]) -> Iterator[Check]:
    """What there is to compute with, and whether the shipped model answers."""
    model, device, cache = (results[f":{name}"] for name in ("model", "device", "cache"))
    said = f"{model.get('name')} says {model.get('label')} of the portrait"
    if model.get("label") == LABEL:
        yield Check(MACHINE, "model", "ok", f"{said}, in {model['seconds']} s with loading")
    else:
        advice = f"mend what failed above first; otherwise: {_install(f'--force-reinstall {NAME}')}"
        wrong = model.get("error") or f"{said}, expected {LABEL}"
        yield Check(MACHINE, "model", "failed", wrong, advice)
    yield _compute(device)
    yield _memory()
    if "error" in cache:
        yield Check(MACHINE, "cache", "warning", cache["error"], "mend huggingface-hub first")
        return
    yield _disk(Path(cache["folder"]), cache["offline"])
    if cache["login"]:
        yield Check(MACHINE, "login", "ok", "logged in to the Hub")
    else:
        found = "not logged in to the Hub; needed to push, and for nothing else"
        yield Check(MACHINE, "login", "absent", found, "hf auth login")


def _compute(device: dict[str, Any]) -> Check:
    """What models run on."""
    if "error" in device:
        return Check(MACHINE, "device", "warning", device["error"], "mend torch first")
    processor = f"{os.cpu_count()} CPU cores, of which PyTorch takes {device['threads']}"
    if device["cuda"]:
        return Check(MACHINE, "device", "ok", f"{', '.join(device['cuda'])}; {processor}")
    if device["mps"]:
        return Check(MACHINE, "device", "ok", f"Apple GPU (mps); {processor}")
    if device["built_for"]:
        found = f"{processor}; PyTorch is built for a GPU ({device['built_for']}), and sees none"
        return Check(MACHINE, "device", "note", found, "nvidia-smi (says whether the driver works)")
    return Check(MACHINE, "device", "ok", f"{processor}; no GPU")


def _memory() -> Check:
    """The machine's memory."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    if size < ROOM:
        advice = "emo-llama predict --workers 1, and pictures of few megapixels"
        return Check(MACHINE, "memory", "warning", f"{size:.1f} GB", advice)
    return Check(MACHINE, "memory", "ok", f"{size:.1f} GB")


def _disk(folder: Path, offline: bool) -> Check:
    """Whether models of the Hub find a place."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / GIGABYTE
    found = f"{folder}, {free:.1f} GB free" + (", offline" if offline else "")
    if not os.access(there, os.W_OK):
        advice = "export HF_HOME=DIR, a folder that may be written to"
        return Check(MACHINE, "cache", "warning", f"{found}, may not be written to", advice)
    if free < ROOM:
        advice = "make room, or export HF_HOME=DIR on a larger disk"
        return Check(MACHINE, "cache", "warning", found, advice)
    return Check(MACHINE, "cache", "ok", found)


def _install(what: str) -> str:
    return f"pip install {what}"


def _lines(checks: list[Check], works: bool) -> Iterator[str]:
    """The report for a terminal; a line for each extra."""
    yield f"{NAME} {__version__} {'works here' if works else 'does not work here yet'}"
    parts = list(dict.fromkeys(check.part for check in checks))
    for part in (BASE, MACHINE):
        yield from ("", part, *(_line(c, c.name) for c in checks if c.part == part))
    yield from ("", "optional parts") if parts[2:] else ()
    for part in parts:
        if part not in (BASE, MACHINE):
            yield _line(_merged([check for check in checks if check.part == part]), part)


def _merged(checks: list[Check]) -> Check:
    """The packages of an extra as one."""
    state = max((check.state for check in checks), key=list(MARKS).index)
    found = "; ".join(f"{c.name} {c.found}" if c.name != c.part else c.found for c in checks)
    advice = dict.fromkeys(check.advice for check in checks if check.advice)
    return Check(checks[0].part, checks[0].part, state, found, "; ".join(advice))


def _line(check: Check, name: str) -> str:
    advice = f"\n{'':23}-> {check.advice}" if check.advice else ""
    return f"  {MARKS[check.state]:<5} {name:<16}{printable(check.found)}{advice}"
