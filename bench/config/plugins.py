"""What else is installed: packages that bring architectures of their own, and the optional extras of this one. Imports no torch.

A package brings its YAMLs by an entry point of the group `bench.architectures`. Its value names the folder that holds
`arch/*.yaml`, with dots, the package first; nothing of the package is imported until one of its architectures is built:

    [project.entry-points."bench.architectures"]
    theirs = "their_package.conf"
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bench.config.errors import UserError

ENTRY_POINT_GROUP = "bench.architectures"
DISTRIBUTION = "architecture-bench"
PACKAGE_OF_MODULE = {
    "fla": "flash-linear-attention"
}  # where a module is called otherwise than the package that brings it

ConfigFolder = tuple[str, Path]  # who brings a folder of YAMLs, in words, and the folder


def installed_folders() -> list[ConfigFolder]:
    """The folders that installed packages bring. Raises UserError for a package that names one which is not there."""
    found = []
    for entry in sorted(
        importlib.metadata.entry_points(group=ENTRY_POINT_GROUP),
        key=lambda entry: (entry.name, entry.value),
    ):
        package = entry.dist.name if entry.dist is not None else entry.name
        top, *inside = entry.value.partition(":")[0].strip().split(".")
        spec = importlib.util.find_spec(top)
        places = [] if spec is None else list(spec.submodule_search_locations or ())
        candidates = [Path(place, *inside) for place in places]
        folder = next((one for one in candidates if any(one.glob("arch/*.yaml"))), None)
        if folder is None:
            where = candidates[0] if candidates else f"a package {top}"
            raise UserError(
                f"the installed package {package} offers architectures in {entry.value}, but there is no arch/*.yaml in {where}: "
                f"install it again, or python -m pip uninstall {package}"
            )
        found.append((f"the installed package {package}", folder.resolve()))
    return found


def check_unique_names(sources: Sequence[ConfigFolder]) -> None:
    """Raise UserError where two folders hold a YAML of the same name: one of them would silently win."""
    seen: dict[Path, ConfigFolder] = {}
    for source in sources:
        for path in sorted(source[1].rglob("*.yaml")):
            name = path.relative_to(source[1])
            who, folder = seen.setdefault(name, source)
            if folder != source[1]:
                choice = f"{name.parent}={name.stem}"
                raise UserError(
                    f"{choice} is named twice, by {who} ({folder}) and by {source[0]} ({source[1]}): rename or remove one"
                )


class InstalledArchitecturesPlugin(SearchPathPlugin):
    """Tells Hydra where the YAMLs of installed packages lie."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = [
            ("the project", Path(e.path.removeprefix("file://")))
            for e in search_path.get_path()
            if e.provider == "main"
        ]
        brought = installed_folders()
        check_unique_names([*own, *brought])
        for _, folder in brought:
            search_path.append(provider=ENTRY_POINT_GROUP, path=f"file://{folder}")


def find_module_file(target: str) -> Path | None:
    """The file of the module that a `_target_` names, found without importing it."""
    top, *rest = target.split(".")[:-1] or [""]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin)
    path = Path(spec.origin).parent.joinpath(*rest)
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


def install_hint(error: BaseException) -> str:
    """The end of a message about a missing module: the line that installs the extra that brings it, where there is one."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    wanted = PACKAGE_OF_MODULE.get(top, top)
    try:
        asked = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for line in asked:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([^'\"]+)", line)
        if (
            name
            and extra
            and extra.group(1) != "dev"
            and _normalize(name.group()) == _normalize(wanted)
        ):
            return f"; python -m pip install '{DISTRIBUTION}[{extra.group(1)}]' brings it"
    return ""


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
