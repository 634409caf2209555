import tomllib
from pathlib import Path

import pytest

from linewatch.errors import ConfigError
from linewatch.settings import HttpSettings, MqttSettings, Settings, keys, load

ROOT = Path(__file__).parent.parent


def write(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None) -> str:
    """Return the sentence of the ConfigError."""
    with pytest.raises(ConfigError) as refused:
        load(path)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_the_file_is_read_and_the_rest_keeps_its_defaults(tmp_path: Path) -> None:
    """One key in the file changes that key and nothing else."""
    settings = load(write(tmp_path, '[station]\nname = "press-7"\n'))

    assert settings.station.name == "press-7"
    assert settings.model_copy(update={"station": Settings().station}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces its key; its neighbours in the same table stay as the file has them."""
    monkeypatch.setenv("LINEWATCH_MQTT__PORT", "8883")

    settings = load(write(tmp_path, '[mqtt]\nhost = "broker"\nport = 1884\n'))

    assert (settings.mqtt.host, settings.mqtt.port) == ("broker", 8883)


def test_settings_never_change_after_start() -> None:
    """Assignment is refused, in a table and at the top."""
    settings = Settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.mqtt.port = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.mqtt = MqttSettings()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A wrong --config must not quietly start a line with defaults."""
    assert refusal(tmp_path / "nowhere.toml") == (
        f"settings file '{tmp_path}/nowhere.toml' does not exist; name another with --config"
    )


def test_without_a_name_the_shipped_place_is_tried_and_then_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training works in an empty folder, and with the line's file where there is one."""
    monkeypatch.chdir(tmp_path)
    assert load(None) == Settings()

    (tmp_path / "config").mkdir()
    (tmp_path / "config/linewatch.toml").write_text('[station]\nproduct = "screw"\n')
    assert load(None).station.product == "screw"


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    """config/linewatch.toml is valid and equals the defaults."""
    shipped = ROOT / "config/linewatch.toml"

    assert load(shipped) == Settings()
    named = {f"{table}.{key}" for table, rows in tomllib.loads(shipped.read_text()).items() for key in rows}
    assert set(keys()) - named == {
        "source.open_timeout_s",
        "source.read_timeout_s",
        "mqtt.password",
        "sparkplug.password",
    }


def test_the_benchmark_file_is_valid() -> None:
    """What `make bench` starts with can be loaded."""
    assert load(ROOT / "config/bench.toml").station.name == "bench"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[mqtt]\nprot = 1883\n", "mqtt.prot is not a setting; did you mean mqtt.port?"),
        ("[mqqt]\nport = 1883\n", "mqqt is not a setting; did you mean mqtt?"),
        ("port = 1883\n", "port is not a setting; known are evidence, "),
        ("[trigger]\nmode = 'sometimes'\n", "trigger.mode: input should be 'free', 'mqtt' or 'part'"),
        ("[mqtt]\nport = 99999\n", "mqtt.port: input should be less than or equal to 65535"),
        ("[station]\nname = 'two words'\n", "station.name: must be 1 to 32 letters, digits, dots"),
        ("[mqtt]\nbase_topic = 'line/#'\n", "mqtt.base_topic: must be 1 to 60 characters such as"),
        ("[mqtt]\nbase_topic = 'line 1'\n", "no '#' or '+', which are wildcards, and no blanks"),
        ("[mqtt]\nbase_topic = 'line/'\n", "no '/' at either end or twice in a row"),
        ("[mqtt]\nbase_topic = '/line'\n", "no '/' at either end or twice in a row"),
        ("[mqtt]\nbase_topic = 'line//1'\n", "no '/' at either end or twice in a row"),
        ("[mqtt]\nbase_topic = '$SYS/line'\n", "no '$' first"),
        ("[mqtt]\nbase_topic = ''\n", "mqtt.base_topic: must be 1 to 60"),
        ("[source]\nfps = -1\n", "source.fps: "),
        ("[journal]\npath = ''\n", "journal.path: '.' names nothing; write a path"),
        ("[evidence]\npath = '/'\n", "evidence.path: '/' names nothing; write a path"),
        ("[mqtt]\nport = 0\nkeepalive_s = 0\n", "(and 1 more)"),
        ("mqtt = 5\n", "mqtt: "),
        ("[mqtt\n", "is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file_names_file_key_and_remedy(tmp_path: Path, text: str, sentence: str) -> None:
    """One sentence names the file, the key and the right value."""
    said = refusal(write(tmp_path, text))

    assert "line.toml" in said
    assert sentence in said


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[journal]\nretention_days = inf\n", "journal.retention_days"),
        ("[evidence]\nretention_days = 1e9\n", "evidence.retention_days"),
        ("[limits]\nstall_s = nan\n", "limits.stall_s"),
        ("[limits]\ngrace_s = inf\n", "limits.grace_s"),
        ("[source]\nopen_timeout_s = inf\n", "source.open_timeout_s"),
        ("[source]\nfps = nan\n", "source.fps"),
    ],
)
def test_numbers_that_nothing_can_be_computed_with_are_refused(tmp_path: Path, text: str, key: str) -> None:
    """Times that would overflow a timer are refused."""
    assert f"line.toml: {key}: " in refusal(write(tmp_path, text))


def test_a_folder_and_foreign_bytes_are_no_settings_file(tmp_path: Path) -> None:
    """A file that cannot be read is refused with the reason."""
    assert "cannot be read" in refusal(tmp_path)

    (tmp_path / "line.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(tmp_path / "line.toml")


BOM = b"\xef\xbb\xbf"


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    """A byte-order mark and CRLF line ends, in settings and in secret files, change nothing."""
    text = b'[station]\r\nname = "press-7"\r\n[mqtt]\r\npassword_file = "%b"\r\n'
    secret = tmp_path / "secret"
    secret.write_bytes(BOM + b"hunter2\r\n")
    (tmp_path / "line.toml").write_bytes(BOM + text % bytes(secret))

    settings = load(tmp_path / "line.toml")

    assert (settings.station.name, settings.mqtt.secret()) == ("press-7", "hunter2")
    assert HttpSettings(token_file=secret).token() == "hunter2"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("[station]\nname = 'a'\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        ("[station]\nname = 'a'\n".encode("utf-16-le"), "it is UTF-16; save it as UTF-8"),
        ("# Prüfstand\n[station]\n".encode("latin-1"), "line 1 has the byte 0xFC, which is not UTF-8"),
        (b"[station]\n\nname = 'Stra\xdfe'\n", "line 3 has the byte 0xDF"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    """One sentence names the file, the place and what to do, for settings and secrets alike."""
    (tmp_path / "line.toml").write_bytes(data)

    said = refusal(tmp_path / "line.toml")

    assert "line.toml' cannot be read: " in said
    assert why in said and "save it as UTF-8" in said
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        MqttSettings(password_file=tmp_path / "line.toml").secret()


CLUSTER = {
    "LINEWATCH_PORT": "tcp://10.0.0.1:8080",
    "LINEWATCH_SERVICE_HOST": "10.0.0.1",
    "LINEWATCH_SERVICE_PORT": "8080",
    "LINEWATCH_SERVICE_PORT_HTTP": "8080",
    "LINEWATCH_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "LINEWATCH_PORT_8080_TCP_PROTO": "tcp",
    "LINEWATCH_PORT_8080_TCP_PORT": "8080",
    "LINEWATCH_PORT_8080_TCP_ADDR": "10.0.0.1",
    "LINEWATCH_STATION1_SERVICE_HOST": "fd00::1",
    "LINEWATCH_STATION1_PORT": "tcp://[fd00::1]:8080",
    "LINEWATCH_MQTT_SERVICE_PORT": "1883",
    "LINEWATCH_MQTT_PORT": "tcp://10.0.0.2:1883",
    "LINEWATCH_NAME": "/web/linewatch",
    "LINEWATCH_ENV_PYTHON_VERSION": "3.11",
}


def test_what_a_cluster_says_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes and container links set variables for services called linewatch or linewatch-..."""
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)

    assert load(None) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LINEWATCH_PORT", "8080"),
        ("LINEWATCH_HTTP_PORT", "8080"),
        ("LINEWATCH_NAME", "station1"),
        ("LINEWATCH_SERVICE_HOST", "broker.plant"),
        ("LINEWATCH_SERVICE_POTR", "1"),
    ],
)
def test_a_misspelt_variable_that_resembles_a_cluster_s_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The value decides: a cluster's port is an address."""
    monkeypatch.setenv(variable, value)

    assert f"environment variable {variable} is not a setting" in refusal(None)


def test_a_variable_from_a_windows_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A carriage return from an env file would become part of a host name."""
    monkeypatch.setenv("LINEWATCH_MQTT__HOST", "broker\r")

    assert "LINEWATCH_MQTT__HOST ends with a carriage return" in refusal(None)


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("LINEWATCH_MQTT__PROT", "did you mean LINEWATCH_MQTT__PORT?"),
        ("LINEWATCH_MQTT_PORT", "did you mean LINEWATCH_MQTT__PORT?"),
        ("linewatch_journal__pth", "did you mean LINEWATCH_JOURNAL__PATH?"),
        ("LINEWATCH_MQTT", "did you mean LINEWATCH_MQTT__"),
        ("LINEWATCH_", "; "),
    ],
)
def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, variable: str, advice: str) -> None:
    """An unknown LINEWATCH_* variable is refused."""
    monkeypatch.setenv(variable, "1")

    said = refusal(None)

    assert f"environment variable {variable} is not a setting" in said
    assert advice in said


@pytest.mark.parametrize("variable", ["LINEWATCH_MQTT__PORT", "linewatch_mqtt__port"])
def test_a_bad_value_in_the_environment_is_laid_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """An error from the environment names the variable and not the file."""
    monkeypatch.setenv(variable, "many")

    said = refusal(write(tmp_path, ""))

    assert said.startswith("environment variable LINEWATCH_MQTT__PORT: input should be a valid integer")
    assert "line.toml" not in said


def test_secrets_are_never_in_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sentence nor its cause quotes a password."""
    monkeypatch.setenv("LINEWATCH_MQTT__PASSWORD", "hunter2")
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, "[mqtt]\nport = -1\npassword = ['hunter2']\n"))
    settings = load(write(tmp_path, ""))

    assert "hunter2" not in f"{refused.value} {refused.value.__cause__} {settings!r} {settings.model_dump()}"
    assert settings.mqtt.secret() == "hunter2"


def test_a_password_in_settings_that_all_can_read_is_refused(tmp_path: Path) -> None:
    """The password works in the settings file once that is closed to others."""
    path = write(tmp_path, "[mqtt]\npassword = 'hunter2'\n")
    path.chmod(0o644)
    said = refusal(path)
    assert "mqtt.password stands in a file that every user of this machine can read" in said
    assert "hunter2" not in said

    path.chmod(0o640)
    assert load(path).mqtt.secret() == "hunter2"


def test_a_password_file_is_read_without_its_newline(tmp_path: Path) -> None:
    """The password is read from its file; a missing file is named."""
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    settings = MqttSettings(password_file=path)
    assert settings.secret() == "hunter2"

    path.unlink()
    with pytest.raises(ConfigError, match=r"mqtt\.password_file '.*password' cannot be read"):
        settings.secret()


def test_an_empty_text_means_not_given(tmp_path: Path) -> None:
    """`tls_ca = ""` as in the shipped file is no path."""
    settings = load(write(tmp_path, '[mqtt]\ntls_ca = ""\npassword_file = ""\n[http]\ntoken_file = ""\n'))

    assert (settings.mqtt.tls_ca, settings.mqtt.password_file, settings.http.token_file) == (None, None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "line-pc", ""])
def test_a_page_that_others_can_reach_needs_a_token(tmp_path: Path, host: str) -> None:
    """A non-loopback host without a token file is refused."""
    said = refusal(write(tmp_path, f'[http]\nhost = "{host}"\n'))

    assert "line.toml: http: " in said
    assert "needs http.token_file" in said
    assert load(write(tmp_path, f'[http]\nhost = "{host}"\ntoken_file = "t"\n')).http.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_page_for_this_machine_needs_none(host: str) -> None:
    """Loopback is enough for a start without any file."""
    assert HttpSettings(host=host).token() == ""


def test_a_modbus_server_that_others_can_reach_needs_its_clients(tmp_path: Path) -> None:
    """Modbus has no password; an address that cannot be one is refused by name."""
    others = '[modbus]\nhost = "0.0.0.0"\nclients = '

    assert "needs modbus.clients; name the PLC" in refusal(write(tmp_path, others + "[]\n"))
    assert "'plc-7' must be an address such as" in refusal(write(tmp_path, others + '["plc-7"]\n'))
    networks = load(write(tmp_path, others + '["10.0.0.7", "fd00::/8"]\n')).modbus.clients
    assert networks == ("10.0.0.7", "fd00::/8")


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    """An empty token file is refused."""
    path = tmp_path / "token"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty; make one with"):
        HttpSettings(token_file=path).token()

    path.write_text("s3cret\n")
    assert HttpSettings(host="0.0.0.0", token_file=path).token() == "s3cret"
