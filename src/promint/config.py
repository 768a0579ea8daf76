"""Every setting: one frozen value, read once from the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

PREFIX = "PROMINT_"
NUMBER_MAX = 1e15
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?", re.ASCII)
MEBIBYTE = 1024 * 1024


def _setting(default: Any, unit: str, meaning: str) -> Any:
    return field(default=default, metadata={"unit": unit, "meaning": meaning})


class BadSetting(ValueError):
    """An environment variable holds something that its setting cannot."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set, each as the environment variable PROMINT_ + name in capitals.

    The defaults fit one machine.
    """

    database_url: str = _setting(
        "sqlite:///promint.db", "URL", "the store: sqlite:///FILE or postgresql://…"
    )
    always_200: bool = _setting(
        False, "true or false", "answer HTTP 200 to every request, whatever `error` says"
    )
    import_body_bytes_max: int = _setting(
        64 * MEBIBYTE, "bytes", "the largest body of promocodes/import and profiles/import_batch"
    )
    body_bytes_max: int = _setting(MEBIBYTE, "bytes", "the largest body of any other call")
    upload_bytes_max: int = _setting(
        4096 * MEBIBYTE, "bytes", "the largest file that the management API takes for an import"
    )
    import_codes_max: int = _setting(100_000, "codes", "the most codes in one import request")
    header_bytes_max: int = _setting(65_536, "bytes", "the most bytes of request line and headers")
    header_timeout_s: float = _setting(
        10.0, "seconds", "how long a client may take to send its headers"
    )
    body_timeout_s: float = _setting(
        30.0, "seconds", "how long a client may take to send its body, or to take a chunk of ours"
    )
    idle_timeout_s: float = _setting(
        30.0, "seconds", "how long a connection is kept open between requests"
    )
    idempotency_hours: int = _setting(24, "hours", "how long an idempotency key is remembered")
    batch_undo_days: float = _setting(
        90.0, "days", "how long a bulk change that has ended can be taken back"
    )
    cache_s: float = _setting(
        0.5, "seconds", "how long tokens, programs and databases are believed without asking"
    )
    wrong_codes_per_token: int = _setting(
        600, "wrong codes a minute", "how many wrong codes of one token are answered"
    )
    wrong_codes_per_network: int = _setting(
        60, "wrong codes a minute", "the same of one network: /24 of IPv4, /64 of IPv6"
    )
    wrong_codes_per_program: int = _setting(6000, "wrong codes a minute", "the same in one program")
    trusted_proxies: str = _setting(
        "", "addresses", "the proxies that are believed who calls: 10.0.0.7, 10.1.0.0/16"
    )
    client_address_header: str = _setting(
        "X-Forwarded-For", "header", "where they say it: X-Forwarded-For or Forwarded"
    )
    queue_max: int = _setting(
        4096, "requests", "how many changes may wait for the store before new ones get 503"
    )
    queue_wait_s: float = _setting(
        0.5, "seconds", "how long a change may have to wait for the store before new ones get 503"
    )
    batch_max: int = _setting(256, "requests", "how many changes travel in one transaction")
    doubt_timeout_s: float = _setting(
        8.0, "seconds", "how long a change whose COMMIT was cut off is looked for"
    )
    statement_cache: bool = _setting(
        True, "true or false", "keep prepared statements; off behind PgBouncer"
    )
    rude_words_file: str = _setting(
        "", "file", "words that no generated code shall spell, one a line; empty is our own list"
    )
    jobs_at_once: int = _setting(
        1, "processes", "how many jobs one service process runs at once, of different programs"
    )
    job_heartbeat_s: float = _setting(
        2.0, "seconds", "how often a job's process says that it lives and how far it is"
    )
    job_stale_s: float = _setting(
        30.0, "seconds", "after what silence a job's process is given up and the job begun again"
    )
    job_files_days: float = _setting(
        7.0, "days", "how long the files of a job that has ended are kept"
    )
    stock_interval_s: float = _setting(
        5.0, "seconds", "how often the free codes of programs with low_stock are counted"
    )
    drain_timeout_s: int = _setting(
        20, "seconds", "how long requests under way may take once the service is told to stop"
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not isinstance(value, (str, bool)) and not 0 < value < NUMBER_MAX:
                raise BadSetting(f"{PREFIX}{setting.name.upper()} must be more than 0 and finite")
        if self.job_stale_s < 3 * self.job_heartbeat_s:
            raise BadSetting(
                f"{PREFIX}JOB_STALE_S must be at least 3 times {PREFIX}JOB_HEARTBEAT_S"
            )


def settings_fields() -> tuple[Field[Any], ...]:
    """Return the settings with their default, unit and meaning."""
    return fields(Settings)


def read_settings(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Return the settings of an environment; a value in `given` that is not None goes first.

    Raises:
        BadSetting: a variable's text is not of its setting's type, or not above 0.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        name = PREFIX + setting.name.upper()
        if given.get(setting.name) is not None:
            values[setting.name] = given[setting.name]
        elif name in environment:
            values[setting.name] = _read(name, environment[name], type(setting.default))
    return Settings(**values)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment variables that make a process read these settings."""
    return {
        PREFIX + setting.name.upper(): str(getattr(settings, setting.name))
        for setting in fields(settings)
    }


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise BadSetting(f"{name} must be true or false, not {text!r}")
    try:
        # Python also reads 1_000, blanks around a number, and digits of other scripts.
        if kind is not str and not _NUMBER.fullmatch(text):
            raise ValueError
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise BadSetting(f"{name} must be {what}, not {text!r}") from None
