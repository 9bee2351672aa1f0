"""The settings source, in the real pydantic-settings."""

from __future__ import annotations

import enum
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from typing_extensions import TypeAliasType

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import AccessDenied, DaemonUnreachable, SecretsClient
from jarvis_secretsd.client.settings import FromSecret, SecretsSettingsSource
from jarvis_secretsd.values import SecretValue
from tests.client.fake_daemon import FakeDaemon

S = TypeVar("S")


@pytest.fixture(autouse=True)
def _by_environment(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))


class Settings(BaseSettings):
    """What the environment says goes first, then secrets, then defaults."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretsSettingsSource(settings_cls)


def read(settings: Callable[..., S]) -> S:
    """What a program gets that makes its settings; type checkers miss the fields' arguments."""
    return settings()


def names_got(fake: FakeDaemon) -> list[str]:
    return [get.name for get in fake.operations(m.Get) if isinstance(get, m.Get)]


def test_a_field_takes_the_secret_of_its_name(fake: FakeDaemon) -> None:
    """To the last character, and nothing else is fetched."""

    class App(Settings):
        postgres_password: SecretStr
        JWT_KEY: str
        debug: bool = False

    fake.hold(postgres_password="p\u00e9\n", jwt_key=" k ", brave_api_key="not asked for")
    app = read(App)
    assert app.postgres_password.get_secret_value() == "p\u00e9\n"
    assert type(app.JWT_KEY) is str
    assert app.JWT_KEY == " k "
    assert app.debug is False
    assert names_got(fake) == ["postgres_password", "jwt_key"]


def test_no_other_field_is_asked_for(fake: FakeDaemon) -> None:
    """What isn't a secret leaves no denial in the audit log."""

    class App(Settings):
        debug: bool = False
        port: int = 80

    assert read(App).port == 80
    assert names_got(fake) == []
    assert [type(asked.operation) for asked in fake.asked] == [m.List]


def test_a_field_can_name_its_secret(fake: FakeDaemon) -> None:
    """Then no list is needed; the prefix is for names that come from fields."""

    class App(Settings):
        url: Annotated[SecretStr | None, FromSecret("db/main")]

    fake.hold(url="no")
    fake.store("db/main", SecretValue.from_text("yes"))
    url = read(App).url
    assert url is not None
    assert url.get_secret_value() == "yes"
    assert [type(asked.operation) for asked in fake.asked] == [m.Get]


def test_a_field_cannot_name_what_is_no_name() -> None:
    """It is found out where the class is written, not at the first start."""
    with pytest.raises(ValueError, match="did you mean 'db/main'"):
        FromSecret("DB/main")


def test_a_prefix_stands_before_names_of_fields(fake: FakeDaemon, client: SecretsClient) -> None:
    """With a client of the program's own, which stays open."""

    class App(BaseSettings):
        token: str
        url: Annotated[str, FromSecret("url")]

    fake.store("web/token", SecretValue.from_text("t"))
    fake.hold(url="u", token="no")
    source = SecretsSettingsSource(App, client, prefix="web/")
    assert source() == {"token": "t", "url": "u"}
    assert source() == {"token": "t", "url": "u"}
    assert fake.connections == 1


def test_what_pydantic_reads_from_text_it_reads_from_a_secret(fake: FakeDaemon) -> None:
    """Numbers, booleans, choices, paths and bytes, as from the environment."""

    class Level(enum.StrEnum):
        LOW = "low"

    class App(Settings):
        number: int
        share: float
        flag: bool
        level: Level
        mode: Literal["a", "b"]
        file: Path
        data: SecretBytes
        text_as_bytes: bytes

    fake.hold(number="5432", share="0.5", flag="true", level="low", mode="b", file="/etc")
    fake.hold(text_as_bytes="é")
    fake.store("data", SecretValue(b"\xff\0", is_text=False))
    app = read(App)
    assert (app.number, app.share, app.flag, app.mode) == (5432, 0.5, True, "b")
    assert (app.level, app.file) == (Level.LOW, Path("/etc"))
    assert (app.data.get_secret_value(), app.text_as_bytes) == (b"\xff\0", "é".encode())


class Database(BaseModel):
    host: str = "localhost"
    password: SecretStr
    replica: Database | None = None


def test_json_fills_what_has_parts(fake: FakeDaemon) -> None:
    """Lists, mappings and models, as from the environment."""

    class App(Settings):
        hosts: list[str]
        ports: dict[str, int] | None
        db: Database
        either: list[str] | str

    fake.hold(hosts='["a"]', ports='{"x": 1}', either="plain, not JSON")
    fake.hold(db='{"host": "h", "password": "p", "replica": {"password": "q"}}')
    app = read(App)
    assert (app.hosts, app.ports, app.either) == (["a"], {"x": 1}, "plain, not JSON")
    assert app.db.replica is not None
    assert app.db.replica.password.get_secret_value() == "q"


def test_the_parts_of_a_model_may_be_secrets_of_their_own(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`db/password` is the password of `db`, beside what its JSON and the environment say."""

    class App(Settings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        db: Database
        key: Annotated[Database | None, FromSecret("other")] = None

    fake.hold(db='{"host": "of the secret"}')
    fake.store("db/password", SecretValue.from_text("p"))
    fake.store("db/replica/host", SecretValue.from_text("never asked for: the model is above it"))
    fake.store("other/password", SecretValue.from_text("o"))
    monkeypatch.setenv("DB__HOST", "of the environment")
    app = read(App)
    assert (app.db.host, app.db.password.get_secret_value()) == ("of the environment", "p")
    assert app.key is not None
    assert app.key.password.get_secret_value() == "o"
    assert names_got(fake) == ["db", "db/password", "other", "other/password"]


def test_an_alias_names_the_secret(fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it names the variable; of several the first that there is, and the environment first."""

    class App(Settings):
        model_config = SettingsConfigDict(env_prefix="APP_")
        password: str = Field(validation_alias="POSTGRES_PASSWORD")
        token: str = Field(validation_alias=AliasChoices("API_TOKEN", "TOKEN"))
        key: Annotated[str, FromSecret("tls/key")] = Field(alias="TLS_KEY")

    fake.hold(postgres_password="p", token="t", password="no", app_password="no")
    fake.store("tls/key", SecretValue.from_text("k"))
    app = read(App)
    assert (app.password, app.token, app.key) == ("p", "t", "k")
    fake.hold(api_token="first")
    assert read(App).token == "first"
    monkeypatch.setenv("TOKEN", "of the environment")
    assert read(App).token == "of the environment"


def test_an_alias_may_lead_into_a_secret(fake: FakeDaemon) -> None:
    """A path takes its part of the JSON that the secret of its first step holds."""

    class App(Settings):
        user: str = Field(validation_alias=AliasPath("db", "user"))
        password: str = Field(validation_alias=AliasChoices(AliasPath("db", "keys", 0), "PW"))

    fake.hold(db='{"user": "u", "keys": ["k"]}')
    app = read(App)
    assert (app.user, app.password) == ("u", "k")
    assert names_got(fake) == ["db"]
    fake.hold(db="hunter2")
    with pytest.raises(SettingsError, match="the secret db of the field db is not JSON"):
        read(App)
    del fake.secrets["db"]
    fake.hold(pw="p")
    with pytest.raises(ValidationError, match=r"db\.user\n  Field required"):
        read(App)


def test_a_field_that_has_a_name_beside_its_alias_takes_either(fake: FakeDaemon) -> None:
    """Where the class says that the name counts too, or that the alias doesn't."""

    class Both(Settings):
        model_config = SettingsConfigDict(env_prefix="APP_", populate_by_name=True)
        token: str = Field(validation_alias="API_TOKEN")

    class NameAlone(Settings):
        model_config = SettingsConfigDict(validate_by_alias=False, validate_by_name=True)
        token: str = Field(validation_alias="API_TOKEN")

    fake.hold(app_token="by its name", token="without a prefix")
    assert read(Both).token == "by its name"
    fake.hold(api_token="by its alias")
    assert read(Both).token == "by its alias"
    assert read(NameAlone).token == "without a prefix"


def test_the_prefix_of_the_environment_is_that_of_secrets(fake: FakeDaemon) -> None:
    """Unless the source is given another one; names below a model have none."""

    class App(Settings):
        model_config = SettingsConfigDict(env_prefix="APP_")
        token: str
        db: Database

    fake.hold(app_token="t", token="no", password="no")
    fake.store("app_db/password", SecretValue.from_text("p"))
    app = read(App)
    assert (app.token, app.db.password.get_secret_value()) == ("t", "p")
    assert SecretsSettingsSource(App, prefix="")() == {"token": "no"}


MaybeHosts = TypeAliasType("MaybeHosts", list[str] | None)
AnyDatabase = TypeAliasType("AnyDatabase", Annotated[Database, "described"])


def test_a_type_may_have_another_name(fake: FakeDaemon) -> None:
    """`type X = ...` and Annotated are what they stand for, for JSON and for nested models."""

    class App(Settings):
        hosts: MaybeHosts
        db: AnyDatabase
        other: Annotated[Database, "described"] | None = None

    fake.hold(hosts='["a"]')
    fake.store("db/password", SecretValue.from_text("p"))
    fake.store("other/password", SecretValue.from_text("o"))
    app = read(App)
    assert app.hosts == ["a"]
    assert app.db.password.get_secret_value() == "p"
    assert app.other is not None
    assert app.other.password.get_secret_value() == "o"


def test_the_fields_of_a_model_have_aliases_too(fake: FakeDaemon) -> None:
    """Below every name that the model itself may have."""

    class Inner(BaseModel):
        password: str = Field(validation_alias="PW")

    class App(Settings):
        db: Inner = Field(validation_alias=AliasChoices("MAIN_DB", "DB"))

    fake.store("db/pw", SecretValue.from_text("p"))
    assert read(App).db.password == "p"


def test_what_is_missing_is_left_to_others(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source before ours wins, a default serves, and what nobody has is pydantic's error."""

    class App(Settings):
        a: Annotated[str, FromSecret("a")] = "default"
        b: str = "default"
        c: str

    fake.hold(c="of the secret")
    app = read(App)
    assert (app.a, app.b, app.c) == ("default", "default", "of the secret")
    monkeypatch.setenv("C", "of the environment")
    assert read(App).c == "of the environment"
    monkeypatch.delenv("C")
    del fake.secrets["c"]
    with pytest.raises(ValidationError, match="c\n  Field required"):
        read(App)


def test_a_denial_of_a_named_secret_is_an_error(fake: FakeDaemon) -> None:
    """All of them in one message, each with its field, though there are defaults."""

    class Inner(BaseModel):
        key: Annotated[str, FromSecret("tls/key")]

    class App(Settings):
        url: Annotated[SecretStr, FromSecret("db/main")] = SecretStr("default")
        tls: Inner = Inner(key="default")

    fake.store("db/main", SecretValue.from_text("x"))
    fake.store("tls/key", SecretValue.from_text("x"))
    fake.unreadable |= {"db/main", "tls/key"}
    with pytest.raises(SettingsError) as caught:
        read(App)
    first, second = str(caught.value).split("; ")
    assert first.startswith("the secret db/main of the field url: ")
    assert second.startswith("the secret tls/key of the field tls.key: ")


def test_a_daemon_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Never a program that runs on its defaults."""

    class App(Settings):
        token: str = "default"

    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"no secret can be had: .*none") as caught:
        read(App)
    assert isinstance(caught.value.__cause__, DaemonUnreachable)


def test_a_denial_of_everything_is_an_error(fake: FakeDaemon) -> None:
    """A program that the policy doesn't know isn't told that its secrets don't exist."""

    class App(Settings):
        token: str = "default"

    fake.answers.append(lambda _: m.Failure("client_required", "name a client"))
    with pytest.raises(SettingsError, match="name a client") as caught:
        read(App)
    assert isinstance(caught.value.__cause__, AccessDenied)


def test_what_should_be_json_and_is_not_is_an_error(fake: FakeDaemon) -> None:
    """It names the field and its secret."""

    class App(Settings):
        hosts: Annotated[list[str], FromSecret("web/hosts")]

    fake.store("web/hosts", SecretValue.from_text("a, b"))
    with pytest.raises(SettingsError) as caught:
        read(App)
    assert str(caught.value) == "the secret web/hosts of the field hosts is not JSON"


def everything(error: BaseException | None) -> str:
    """What an error and those behind it hold, as a thorough logger would show them."""
    if error is None:
        return ""
    told = f"{error.errors()} {error.json()}" if isinstance(error, ValidationError) else ""
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if "fake" not in frame]
    behind = everything(error.__cause__ or error.__context__)
    return f"{error!r} {error} {told} {vars(error)} {ours} {behind}"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "hunter2"),
        (Annotated[str, Field(max_length=2)], "hunter2"),
        (Annotated[SecretStr, Field(max_length=2)], "hunter2"),
        (list[int], "hunter2"),
        (list[int], '["hunter2"]'),
        (dict[str, str], '{"pin": 47114711, "share": 0.47114711}'),
        (dict[str, int] | None, '{"a": ["hunter2"]}'),
        (Database, '{"host": {"a": "hunter2"}}'),
    ],
)
def test_no_error_shows_a_value(fake: FakeDaemon, annotation: Any, value: str) -> None:
    """Neither the value that is wrong, nor one that stands beside it."""

    class App(Settings):
        beside: str
        asked: annotation
        missing: str

    fake.hold(beside="hunter2", asked=value)
    with pytest.raises((ValidationError, SettingsError)) as caught:
        read(App)
    told = everything(caught.value)
    assert "**********" in told or "is not JSON" in told
    assert "hunter2" not in told
    assert "47114711" not in told


def test_what_prints_as_stars_is_the_value_all_the_same(fake: FakeDaemon) -> None:
    """For a field that takes anything, and for what a program does before pydantic looks."""

    class App(Settings):
        anything: Any
        number: dict[str, Any]
        trimmed: Annotated[str, BeforeValidator(lambda value: f"{value}".strip())]

    fake.hold(anything="text", number='{"n": 5432, "f": 0.5, "b": true}', trimmed=" t ")
    app = read(App)
    assert (app.anything, f"{app.anything}", app.trimmed) == ("text", "text", "t")
    assert app.number == {"n": 5432, "f": 0.5, "b": True}
    assert [*map(str, app.number.values())] == ["5432", "0.5", "True"]
    assert app.model_dump() == dict(app)


def test_bytes_that_do_not_fit_are_not_shown(fake: FakeDaemon) -> None:
    """Like text."""

    class App(Settings):
        data: str

    fake.store("data", SecretValue(b"hunter2\xff", is_text=False))
    with pytest.raises(ValidationError) as caught:
        read(App)
    assert "hunter2" not in everything(caught.value)


def test_one_field_can_be_asked_for(fake: FakeDaemon, client: SecretsClient) -> None:
    """As a source that builds on this one would, and no other is fetched."""

    class App(BaseSettings):
        hosts: list[str] = Field(alias="HOSTS")
        token: str = ""

    fake.hold(hosts=json.dumps(["a"]), token="t")
    source = SecretsSettingsSource(App, client)
    field = App.model_fields["hosts"]
    assert source.get_field_value(field, "hosts") == (["a"], "HOSTS", False)
    assert names_got(fake) == ["hosts"]
