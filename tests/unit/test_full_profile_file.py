"""The YAML of a full profile: what it says reaches AiiDA, faults are told in one line, and no line shows a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from vibraloom.errors import InputError
from vibraloom.workflows.full_profile import Full, load_full_profile
from vibraloom.workflows.servers import Broker, Database, has_consumer_timeout

ROOT = Path(__file__).parents[2]
SECRET = "h0rse/battery@staple:%#"
GOOD = f"""\
version: 1
postgresql: {{database: spectra, user: ann, password: "{SECRET}"}}
broker: {{user: bob, password_variable: VIBRALOOM_TEST_PASSWORD}}
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "full.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def loaded(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Full:
    monkeypatch.setenv("VIBRALOOM_TEST_PASSWORD", SECRET)
    return load_full_profile(written(folder, text))


def test_the_published_example_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBRALOOM_DATABASE_PASSWORD", "one")
    monkeypatch.setenv("VIBRALOOM_BROKER_PASSWORD", "two")
    full = load_full_profile(ROOT / "examples" / "full-profile.yaml")
    assert full.database == Database("127.0.0.1", 5432, "vibraloom", "vibraloom", "one")
    assert full.broker == Broker("127.0.0.1", 5672, "vibraloom", "two")
    assert full.daemon.workers == 2
    assert full.consumer_timeout_raised


def test_what_the_file_says_reaches_aiida(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("user: ann", "host: db.example.org, port: 6000, user: ann").replace(
        "user: bob", "user: bob, virtual_host: lab, tls: true, consumer_timeout_raised: true"
    )
    full = loaded(tmp_path, text + "daemon: {workers: 5, poll_interval: 7}\n", monkeypatch)
    backends = full.backends(tmp_path / "repository of files")
    assert backends.storage_config == {
        "database_engine": "postgresql_psycopg",
        "database_hostname": "db.example.org",
        "database_port": 6000,
        "database_name": "spectra",
        "database_username": "ann",
        "database_password": SECRET,
        "repository_uri": (tmp_path / "repository of files").as_uri(),
    }
    assert backends.broker_config == {
        "broker_protocol": "amqps",
        "broker_username": "bob",
        "broker_password": SECRET,
        "broker_host": "127.0.0.1",
        "broker_port": 5672,
        "broker_virtual_host": "lab",
    }
    assert backends.options == {
        "runner.poll.interval": 7,
        "daemon.default_workers": 5,
        "warnings.rabbitmq_version": False,
    }


def test_a_password_file_is_found_beside_the_yaml_and_its_first_line_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\nsecond\n", encoding="utf-8")
    secret.chmod(0o600)
    text = GOOD.replace(f'password: "{SECRET}"', "password_file: secret")
    assert loaded(tmp_path, text, monkeypatch).database.password == "first"
    secret.chmod(0o640)
    with pytest.raises(InputError, match=f"others may read it \\(mode 0640\\); run: chmod 600 {secret}"):
        loaded(tmp_path, text, monkeypatch)


def test_a_password_in_a_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBRALOOM_TEST_PASSWORD", SECRET)
    path = written(tmp_path, GOOD, 0o644)
    with pytest.raises(InputError, match=r"it holds postgresql\.password, but others may read it"):
        load_full_profile(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("password:", "pasword:", "postgresql.pasword: **********: unknown key"),
        ("password:", "Passphrase:", "postgresql.Passphrase: **********: unknown key"),
        ("password:", "pwd:", "postgresql.pwd: **********: unknown key"),
        (f'"{SECRET}"', "12345", "postgresql.password: **********: allowed: text"),
        (f'"{SECRET}"', "[h0rse]", "postgresql.password: **********: allowed: text"),
        (f'"{SECRET}"', '""', "postgresql.password: no password there that can be used"),
        (f'"{SECRET}"', '"h0rse staple"', "postgresql.password: no password there that can be used"),
        ("password:", "password_file: x, password:", "allowed: one of password, password_file, password_variable"),
        (f', password: "{SECRET}"', "", "allowed: one of password, password_file, password_variable"),
        (f'password: "{SECRET}"', "password_file: absent", "postgresql.password_file: cannot be read as text"),
        ("VIBRALOOM_TEST_PASSWORD", "VIBRALOOM_UNSET", "broker.password_variable: VIBRALOOM_UNSET: no password there"),
        ("database: spectra", "database: 'spectra; DROP'", "postgresql.database: 'spectra; DROP': allowed: text that matches"),
        ("user: bob", "user: bob, port: 0", "broker.port: 0: allowed: at least 1"),
        ("user: bob", "user: bob, port: '5672'", "broker.port: '5672': allowed: a whole number"),
        ("user: bob", "user: bob, host: 'a/b'", "broker.host: 'a/b': allowed: text that matches"),
        ("user: bob", "user: bob, virtual_host: a/b", "broker.virtual_host: 'a/b': allowed: text that matches"),
        ("user: bob", "user: bob, tls: 1", "broker.tls: 1: allowed: true or false"),
        ("version: 1\n", "", "version: missing"),
        ("version: 1\n", "version: 2\n", "version: 2: allowed: 1"),
        ("version: 1\n", "version: 1\ndaemon: {workers: 0}\n", "daemon.workers: 0: allowed: at least 1"),
        ("broker:", "brocker:", "brocker: "),
    ],
)
def test_faults_are_told_in_one_line_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as raised:
        loaded(tmp_path, GOOD.replace(old, new, 1), monkeypatch)
    message = str(raised.value)
    assert said in message
    assert "\n" not in message
    assert "h0rse" not in message and "12345" not in message


def test_an_absent_file_is_answered_with_the_example() -> None:
    with pytest.raises(InputError, match=r"no such file; write one like examples/full-profile.yaml"):
        load_full_profile(Path("absent.yaml"))


def test_no_representation_shows_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = loaded(tmp_path, GOOD, monkeypatch)
    for thing in (full, full.database, full.broker):
        assert SECRET not in repr(thing) + str(thing)


@pytest.mark.parametrize(
    ("release", "limited"),
    [("3.8.14", False), ("3.8.15", True), ("3.10.8", True), ("4.0.2", True), ("3.13.0-rc.1", True), ("3.6.16", False)],
)
def test_releases_of_rabbitmq_that_cut_off_long_runs(release: str, limited: bool) -> None:
    assert has_consumer_timeout(release) is limited


@pytest.mark.parametrize(
    ("answer", "host", "minutes"),
    [
        ("{{ok,1800000},[35955,5672]}", "127.0.0.1", 30.0),
        ("{{ok,undefined},[5672]}", "localhost", float("inf")),
        ("{{ok,1800000},[35955,5673]}", "127.0.0.1", None),
        ("{{ok,1800000},[35955,5672]}", "broker.example.org", None),
        ("Only root or rabbitmq can run rabbitmqctl", "127.0.0.1", None),
    ],
)
def test_consumer_timeout_is_taken_from_the_server_of_this_port_on_this_machine(
    answer: str, host: str, minutes: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rabbitmqctl"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Broker(host, 5672, str(tmp_path), SECRET).consumer_timeout() == minutes
