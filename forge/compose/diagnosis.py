"""What was wrong, for an error of Hydra's defaults-list algorithm: the line that caused it, and what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ConfigError, ConfigNotFoundError, OverrideError
from forge.base.origin import Origin
from forge.base.spelling import did_you_mean
from forge.compose.reference import is_interpolation

if TYPE_CHECKING:
    from forge.compose.overrides import Override
    from forge.compose.repository import Default, Repository

__all__ = ["Diagnosis", "shortened"]


class Diagnosis:
    """Finds, for an error of Hydra's defaults list, the line that caused it and what the user may have meant."""

    def __init__(self, repository: Repository, name: str, overrides: list[Override], error: Exception) -> None:
        self.repository = repository
        self.name = name
        self.overrides = overrides
        self.missing = getattr(error, "missing_cfg_file", None)
        self.message = str(error).split("\nConfig search path")[0]
        self._mended_override: Override | None = None
        self._mended_default: str | None = None
        if isinstance(error, RecursionError):
            self.error = self._circle()
        else:
            self.error = self._missing_config() if self.missing else self._other()

    def mend(self) -> bool:
        """Make the mistake go away so that the next one can be found; False when there is no way."""
        if self._mended_override is not None:
            self.overrides.remove(self._mended_override)
            return True
        if self._mended_default is not None:
            return self.repository.drop_default(self._mended_default)
        if self.missing and self.missing != self.name:
            self.repository.pretend(self.missing)
            return True
        return False

    def _missing_config(self) -> ConfigError:
        missing = str(self.missing)
        group, _, choice = missing.rpartition("/")
        beside = self._added_beside(group)
        if beside is not None:
            return beside
        options = self.repository.get_group_options(group)
        if group and options:
            what = f"group {group!r} has no choice {choice!r}"
            hint = did_you_mean(choice, options) or f"choices: {shortened(options)}"
        elif group:
            what = f"there is no config group {group!r}"
            hint = did_you_mean(group, self.repository.group_names())
        else:
            what = f"there is no config {missing!r}"
            hint = did_you_mean(choice, self.repository.get_group_options(""))
        return ConfigNotFoundError(what, origin=self._origin_of(missing, group, choice), hint=hint or None)

    def _added_beside(self, group: str) -> ConfigError | None:
        """For a group of the library that a line adds to a config in a folder: Hydra looks for it in that folder."""
        folder = self.name.rpartition("/")[0]
        for override in self.overrides:
            added = override.parsed.key_or_group
            if (
                folder
                and override.parsed.is_add()
                and group == f"{folder}/{added}"
                and self.repository.group_exists(added)
            ):
                self._mended_override = override
                what = f"there is no config group {group!r}: what a line adds is looked for beside {self.name}"
                return ConfigNotFoundError(what, origin=override.origin, hint=self._in_a_config(override))
        return None

    def _in_a_config(self, override: Override) -> str:
        """What to do where a config can choose from a group and a line cannot."""
        default = f"/{override.typed.lstrip('+').replace('=', ': ', 1)}"
        return f"a config can add it: forge new config NAME --from {self.name}, with - {default} in its defaults"

    def _origin_of(self, missing: str, group: str, choice: str) -> Origin | None:
        for override in self.overrides:
            value = override.parsed.value()
            if override.parsed.key_or_group == group and (value == choice or isinstance(value, list)):
                self._mended_override = override
                return override.origin
        written = [default for defaults in self.repository.defaults.values() for default in defaults]
        found = next((default for default in written if default.config == missing), None)
        found = found or next((d for d in written if d.config and missing.endswith(d.config)), None)
        found = found or next((d for d in written if choice and choice in d.text), None)
        return found.origin if found else None

    def _circle(self) -> ConfigError:
        """The defaults that lead back to the config they stand in."""
        path: list[str] = [self.name]
        taken: list[Default] = []
        while True:
            for default in self.repository.defaults.get(path[-1], ()):
                if default.config in path:
                    circle = " → ".join([*path[path.index(default.config) :], default.config])
                    return ConfigNotFoundError(f"configs include each other: {circle}", origin=default.origin)
            following = [d for d in self.repository.defaults.get(path[-1], ()) if d.config and d not in taken]
            if not following:
                return ConfigNotFoundError("the defaults lists are nested too deeply", origin=self._root_origin())
            taken.append(following[0])
            path.append(str(following[0].config))

    def _other(self) -> ConfigError:
        """An override that matches nothing, a choice made twice, a list out of order: Hydra's own words, with a place."""
        lines = [line.strip() for line in self.message.splitlines() if line.strip()]
        what = lines[0] if lines else "the defaults list cannot be resolved"
        what = what.partition("': ")[2] if what.startswith("In '") else what
        return (
            self._of_an_override(what, lines)
            or self._of_a_default(what)
            or ConfigNotFoundError(
                _plain(what), origin=self._root_origin(), hint=" ".join(map(_plain, lines[1:3])) or None
            )
        )

    def _of_an_override(self, what: str, lines: list[str]) -> ConfigError | None:
        for override in self.overrides:
            if _is_about(what, override):
                self._mended_override = override
                meant = next((_plain(line) for line in lines[1:] if line.startswith("Did you mean")), None)
                if meant is None and self._is_unused_group(override):
                    meant = self._in_a_config(override)
                return OverrideError(_plain(what), origin=override.origin, hint=meant)
        return None

    def _is_unused_group(self, override: Override) -> bool:
        """Whether an override chooses from a group that is there and that the config chooses nothing from."""
        parsed = override.parsed
        plain = not parsed.is_add() and not parsed.is_delete() and isinstance(parsed.value(), str)
        return plain and self.repository.group_exists(parsed.key_or_group)

    def _of_a_default(self, what: str) -> ConfigError | None:
        """The ``override`` line of a defaults list that found nothing to override."""
        written = [default for defaults in self.repository.defaults.values() for default in defaults]
        groups = [default.text.partition(":")[0].lstrip("/") for default in written]
        for default in written:
            word, _, key = default.text.partition(":")[0].rpartition(" ")
            if word.endswith("override") and f"'{key.lstrip('/')}'" in what:
                self._mended_default = default.text
                hint = did_you_mean(key.lstrip("/"), [group for group in groups if " " not in group])
                return ConfigNotFoundError(_plain(what), origin=default.origin, hint=hint or None)
        return None

    def _root_origin(self) -> Origin | None:
        document = self.repository.document(self.name)
        return Origin(document.file, 1) if document is not None else None


def _is_about(what: str, override: Override) -> bool:
    """Whether Hydra's sentence speaks of this override."""
    key = override.parsed.get_key_element().lstrip("+~")
    value = override.parsed.value()
    named = [f"'{key}'", f"'{key}=", f"{override.typed}'"]
    if isinstance(value, str) and is_interpolation(value):
        named.append(f"'{value}'")
    if override.parsed.is_add():
        named.append(f"Multiple values for {key}.")
    return any(part in what for part in named)


def _plain(text: str) -> str:
    """Hydra's sentence in the form of forge's own messages."""
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def shortened(options: list[str], most: int = 12) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(options[:most]) + (f" and {len(options) - most} more" if len(options) > most else "")
