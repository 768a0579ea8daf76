"""Facts about this process."""

import os
import sys
from collections.abc import Mapping
from xml.parsers import expat

from promint.config import PREFIX, settings_fields
from promint.domain.errors import PromintError
from promint.safety import ProcessFacts
from promint.wire import codecs

BOMB = b'<!DOCTYPE xml [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><xml><code>&b;</code></xml>'
FOR_TESTS = f"{PREFIX}TEST_"


def process_facts(now: int, environment: Mapping[str, str]) -> ProcessFacts:
    """Return the facts; `now` is this moment in UTC microseconds."""
    return ProcessFacts(
        now=now,
        user_id=os.geteuid() if hasattr(os, "geteuid") else None,
        optimize=sys.flags.optimize,
        is_dev_mode=sys.flags.dev_mode,
        is_asyncio_debug=bool(environment.get("PYTHONASYNCIODEBUG")),
        hashes_are_random=bool(sys.flags.hash_randomization),
        expat=expat.version_info,
        refuses_doctype=_refuses_doctype(),
        settings={
            name: value
            for name, value in environment.items()
            if name.startswith(PREFIX) and not name.startswith(FOR_TESTS)
        },
        known_settings=frozenset(f"{PREFIX}{one.name.upper()}" for one in settings_fields()),
    )


def _refuses_doctype() -> bool:
    """Try it: what counts is what the reader does, not what it was meant to do."""
    try:
        codecs.read(BOMB, codecs.Format.XML)
    except PromintError:
        return True
    return False
