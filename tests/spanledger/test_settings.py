"""Settings: one table, four sources."""

from pathlib import Path

import pytest

from spanledger.errors import UsageError
from spanledger.settings import SETTINGS, Settings, reference, resolve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "spanledger.toml"
        path.write_text(text)
        return str(path)

    return write


def test_without_any_source_the_defaults_hold():
    assert resolve({}, {}) == Settings()


def test_an_option_wins_over_the_environment_and_that_over_the_file(config):
    file = config('api_port = 1\notlp_http_port = 1\nhost = "::1"\n')
    environment = {"SPANLEDGER_API_PORT": "2", "SPANLEDGER_OTLP_HTTP_PORT": "2"}
    settings = resolve({"config": file, "api_port": "3"}, environment)
    assert (settings.api_port, settings.otlp_http_port, settings.host) == (3, 2, "::1")
    assert settings.otlp_grpc_port == Settings().otlp_grpc_port


def test_the_environment_may_name_the_file(config):
    assert resolve({}, {"SPANLEDGER_CONFIG": config('data = "/var/lib/spanledger"')}).data == Path(
        "/var/lib/spanledger"
    )


def test_an_empty_environment_variable_is_not_set():
    assert resolve({}, {"SPANLEDGER_API_PORT": "", "SPANLEDGER_CONFIG": ""}) == Settings()


def test_variables_that_orchestrators_set_are_left_alone():
    assert resolve({}, {"SPANLEDGER_SERVICE_HOST": "10.0.0.1", "SPANLEDGER_PORT": "tcp://10.0.0.1:4317"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_port", "65536"),
        ("api_port", "-1"),
        ("api_port", "http"),
        ("api_port", "80.0"),
        ("api_port", "٣"),
        ("api_port", "9" * 5000),
        ("host", " "),
        ("data", ""),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("view_memory_mb", "1"),
        ("request_max_mb", "0"),
    ],
)
def test_a_wrong_option_is_refused_with_its_name_value_and_what_is_allowed(name, value):
    with pytest.raises(UsageError) as refused:
        resolve({name: value}, {})
    setting = next(row for row in SETTINGS if row.name == name)
    assert name in str(refused.value)
    assert repr(value) in str(refused.value)
    assert setting.option in str(refused.value)
    assert setting.allowed in refused.value.hint
    assert refused.value.exit_status == 2


def test_a_wrong_environment_variable_is_named():
    with pytest.raises(UsageError, match="SPANLEDGER_API_PORT"):
        resolve({}, {"SPANLEDGER_API_PORT": "tcp://10.0.0.1:8321"})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("api_port = 99999", "'99999'"),
        ("api_port = true", "bool"),
        ("api_port = 1.5", "float"),
        ("api_prot = 1", "'api_prot'"),
        ("[server]\napi_port = 1", "'server'"),
        ("api_port = ", "end of document"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(config, text, named):
    file = config(text)
    with pytest.raises(UsageError) as refused:
        resolve({"config": file}, {})
    assert file in str(refused.value)
    assert named in str(refused.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        resolve({"config": str(tmp_path / "missing.toml")}, {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"binary\.toml"):
        resolve({"config": str(binary)}, {})
    with pytest.raises(UsageError, match="directory"):
        resolve({"config": str(tmp_path)}, {})


def test_a_right_value_of_a_lower_source_does_not_hide_a_wrong_one_of_a_higher():
    with pytest.raises(UsageError):
        resolve({"api_port": "x"}, {"SPANLEDGER_API_PORT": "1"})


def test_the_reference_page_is_the_table():
    assert (ROOT / "docs" / "settings.md").read_text() == reference()


def test_every_setting_is_in_the_reference_with_all_its_names():
    page = reference()
    for row in SETTINGS:
        assert all(f"`{text}`" in page for text in (row.name, row.option, row.environment, row.shown_default))
