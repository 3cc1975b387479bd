"""What runs, written as a configuration, is read as what runs."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from lvsd.assembly import wanted_of
from lvsd.config import model, toml
from lvsd.config.differences import differences
from lvsd.config.load import validate
from lvsd.config.writing import text
from lvsd.documents import whole
from tests.property.core.states import states
from tests.property.core.test_difference import all_of
from tests.property.examples import examples

if TYPE_CHECKING:
    from lvsd.core.wanted import Wanted

DAEMONS = st.builds(
    model.Daemon,
    control=st.sampled_from((Path("/run/lvsd/control.sock"), Path('/run/a "b"\\c/d'))),
    queue=st.integers(0, 65535),
    on_crash=st.sampled_from(("drop", "bypass")),
    log_level=st.sampled_from(("debug", "error")),
)
SYSCTLS = st.builds(model.Sysctl, forwarding=st.booleans(), reserve_local_ports=st.booleans())


@st.composite
def configs(draw: st.DrawFn) -> model.Config:
    """Draw what of a configuration no command changes."""
    return model.Config(daemon=draw(DAEMONS), sysctl=draw(SYSCTLS))


def read(written: str) -> model.Config:
    """Return the configuration in a text, which has to be a good one."""
    config, faults = validate(toml.loads(written))
    assert faults == []
    assert config is not None
    return config


def without_names(wanted: Wanted) -> Any:
    """Return everything that is wanted but what services are called."""
    timeouts, settings, services = all_of(wanted)
    return (
        timeouts,
        settings,
        {key: (replace(config, name=""), servers) for key, (config, servers) in services.items()},
    )


@examples(400)
@given(wanted=states(), config=configs())
def test_what_is_written_is_read_as_the_same(wanted: Wanted, config: model.Config) -> None:
    written = text(whole(wanted, config))
    again = read(written)
    then = wanted_of(again)
    assert without_names(then) == without_names(wanted)
    assert list(then.services) == list(wanted.services)
    for key, service in wanted.services.items():
        assert list(then.services[key].servers) == list(service.servers)
    names = [each.config.name for each in wanted.services.values()]
    if "" not in names and len(set(names)) == len(names):
        assert all_of(then) == all_of(wanted)
    for field in fields(model.Daemon):
        if field.name != "max_connections":
            assert getattr(again.daemon, field.name) == getattr(config.daemon, field.name)
    assert again.sysctl.forwarding == config.sysctl.forwarding
    assert text(whole(then, again)) == written


@examples(200)
@given(now=states(), then=states(), config=configs())
def test_two_documents_differ_where_what_is_wanted_does(
    now: Wanted, then: Wanted, config: model.Config
) -> None:
    before, after = whole(now, config), whole(then, config)
    assert list(differences(before, before)) == []
    found = list(differences(before, after))
    assert bool(found) == (_named(now) != _named(then))
    told = {each.service for each in found if each.what != "removed" and each.service}
    for service in after.get("service", ()):
        was = [each for each in before["service"] if _identity(each) == _identity(service)]
        same = was and _by_address(was[0]) == _by_address(service)
        assert same or service["name"] in told


def _named(wanted: Wanted) -> Any:
    config = model.Config()
    return {str(each) for each in _flat(whole(wanted, config))}


def _flat(document: dict[str, Any]) -> list[Any]:
    tables = [(name, table) for name, table in document.items() if name != "service"]
    return [*tables, *(sorted(_by_address(each).items(), key=str) for each in document["service"])]


def _identity(service: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(service.get(word) for word in ("address", "protocol", "fwmark", "family"))


def _by_address(service: dict[str, Any]) -> dict[str, Any]:
    """Return a service's table in which the order of its servers says nothing."""
    servers = {each["address"]: each for each in service.get("server", ())}
    return service | {"server": dict(sorted(servers.items()))}
