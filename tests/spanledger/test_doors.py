"""Sockets bound before anything starts."""

import socket

import pytest

from spanledger.doors import address_of, open_doors
from spanledger.errors import FrontDoorError, UsageError
from spanledger.settings import Settings

FREE = {"otlp_grpc_port": 0, "otlp_http_port": 0, "api_port": 0}


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_ports_are_had_and_known_before_anything_is_started():
    doors = open_doors(Settings(**FREE))
    try:
        assert address_of(doors.api, doors.host).startswith("127.0.0.1:")
        ports = {bound.getsockname()[1] for bound in (doors.otlp_http, doors.api)}
        assert len(ports) == 2
        with pytest.raises(FrontDoorError, match="in use"):
            open_doors(Settings(**(FREE | {"api_port": min(ports)})))
    finally:
        doors.close()


@pytest.mark.parametrize("name", FREE)
def test_a_port_in_use_is_refused_with_its_option(name, taken):
    with pytest.raises(FrontDoorError, match=f"127.0.0.1:{taken}: the port is in use") as refused:
        open_doors(Settings(**(FREE | {name: taken})))
    assert f"--{name.replace('_', '-')}" in refused.value.hint


def test_a_refusal_leaves_no_socket_behind(taken):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FrontDoorError):
        open_doors(Settings(otlp_grpc_port=0, otlp_http_port=port, api_port=taken))
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_same_port_twice_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UsageError, match="otlp_http_port and api_port are both"):
        open_doors(Settings(otlp_grpc_port=0, otlp_http_port=port, api_port=port))


def test_an_address_of_another_machine_is_refused_with_the_host_option():
    with pytest.raises(FrontDoorError, match="does not have that address") as refused:
        open_doors(Settings(host="203.0.113.1", **FREE))
    assert "--host" in refused.value.hint


def test_an_ipv6_address_is_written_as_urls_want_it():
    try:
        doors = open_doors(Settings(host="::1", **FREE))
    except FrontDoorError:
        pytest.skip("this machine has no IPv6")
    try:
        assert address_of(doors.api, doors.host).startswith("[::1]:")
    finally:
        doors.close()
