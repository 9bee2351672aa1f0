"""Files like those that self-hosted projects ship, and what each dialect makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import Struct

from jarvis_secretsd.cli.envfile import Dialect, placeholder, read_envfile
from jarvis_secretsd.values import SecretValue
from tests.cli.envfile.readings import problems, values

FILES = Path(__file__).parent / "files"

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
PG_PASS = "wJ6Dk1FhXq0Zr7bT/9m+4QeN2uYvLs8A=="
SUPABASE_PASSWORD = "your-super-secret-and-long-postgres-password"
SERVICE_ACCOUNT = r'{"type":"service_account","private_key":"-----BEGIN\nAB==\n-----END\n"}'


class Shipped(Struct, frozen=True):
    """How many variables a file has, some of their values, and where the dialects part.

    A dialect's entry is the values that differ, or the lines that it refuses.
    """

    count: int
    values: dict[str, str]
    compose: dict[str, str] | set[int] = {}
    shell: dict[str, str] | set[int] = {}
    dotenv: dict[str, str] | set[int] = {}
    literal: dict[str, str] | set[int] = {}


SHIPPED = {
    "vaultwarden.env": Shipped(
        10,
        {
            "DOMAIN": "https://vault.lan:8443",
            "ADMIN_TOKEN": "$argon2id$v=19$m=65540,t=3,p=4$bXBGME9hVWk0MGpYV0E5Uw"
            "$Q5ZzT1xX0dW3yR4cV8p6kJtY2a1nB0mLsGf7HhUuEoI",
            "SMTP_PASSWORD": "hunter 2 # not a comment",
            "YUBICO_CLIENT_ID": "",
            "DATABASE_URL": "postgresql://vw:s3c%40ret@db:5432/vaultwarden?sslmode=disable",
        },
    ),
    "authentik.env": Shipped(
        9,
        {
            "PG_PASS": PG_PASS,
            "AUTHENTIK_SECRET_KEY": "kP4hb_d0#_GN8d]6Jt+e8Fz2cVb7nM1",
            "AUTHENTIK_POSTGRESQL__PASSWORD": "${PG_PASS}",
            "AUTHENTIK_EMAIL__PASSWORD": "pa$$w0rd",
            "AUTHENTIK_EMAIL__FROM": "authentik <no-reply@lan>",
            "COMPOSE_PORT_HTTP": "80",
            "COMPOSE_PORT_HTTPS": "443",
            "AUTHENTIK_TAG": "2026.8.1",
        },
        compose={
            "AUTHENTIK_POSTGRESQL__PASSWORD": PG_PASS,
            "COMPOSE_PORT_HTTPS": "443\t# a tab before this one",
        },
        shell={"AUTHENTIK_POSTGRESQL__PASSWORD": PG_PASS},
        dotenv={"AUTHENTIK_POSTGRESQL__PASSWORD": PG_PASS},
    ),
    "supabase.env": Shipped(
        15,
        {
            "ANON_KEY": f"{JWT}.eyJyb2xlIjoiYW5vbiIsImlzcyI6InRlc3QiLCJpYXQiOjF9"
            ".M0JtkqvBLeq0QbAjl9cbsGxnYdd0zKxDyMYGnvWLYHk",
            "SERVICE_ROLE_KEY": f"{JWT}.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.Zm9vYmFy-_x",
            "POSTGRES_PASSWORD": SUPABASE_PASSWORD,
            "POSTGRES_URL": "postgres://postgres:${POSTGRES_PASSWORD}"
            "@${POSTGRES_HOST}:${POSTGRES_PORT}/${POSTGRES_DB}",
            "ADDITIONAL_REDIRECT_URLS": "",
            "STUDIO_DEFAULT_ORGANIZATION": "Default Organization",
        },
        compose={"POSTGRES_URL": f"postgres://postgres:{SUPABASE_PASSWORD}@db:5432/postgres"},
        shell={24},
        dotenv={"POSTGRES_URL": f"postgres://postgres:{SUPABASE_PASSWORD}@db:5432/postgres"},
    ),
    "nextcloud.env": Shipped(
        9,
        {
            "MYSQL_ROOT_PASSWORD": "r00t'; DROP TABLE users; --",
            "MYSQL_PASSWORD": 'quote"inside',
            "OBJECTSTORE_S3_SECRET": "AbC/dEf+GhI0123456789/jKlMnOpQrStUvWx=",
            "REDIS_HOST_PASSWORD": "null",
            "MAIL_SIGNATURE": "Yours,\nthe cloud",
        },
        shell={"MAIL_SIGNATURE": r"Yours,\nthe cloud"},
    ),
    "immich.env": Shipped(
        7,
        {
            "DB_PASSWORD": "postgres",
            "DB_URL": "postgres://${DB_USERNAME}:${DB_PASSWORD}"
            "@${DB_HOSTNAME:-database}:${DB_PORT:-5432}/${DB_DATABASE_NAME}",
        },
        compose={"DB_URL": "postgres://postgres:postgres@database:5432/immich"},
        shell={"DB_URL": "postgres://postgres:postgres@database:5432/immich"},
        dotenv={"DB_URL": "postgres://postgres:postgres@database:5432/immich"},
    ),
    "paperless.env": Shipped(
        8,
        {
            "PAPERLESS_URL": "https://paperless.lan",
            "PAPERLESS_DBPASS": "paper less",
            "PAPERLESS_FILENAME_FORMAT": "{created_year}/{correspondent}/{title}",
            "PAPERLESS_CONSUMER_IGNORE_PATTERNS": '[".DS_Store/*", "._*"]',
            "PAPERLESS_EMAIL_TASK_CRON": "*/10 * * * *",
        },
        shell={7, 8},
    ),
    "plausible.env": Shipped(
        7,
        {
            "TOTP_VAULT_KEY": "dsxvbn3jxDd16az2QpsX5B8O+llxjQ2SJE3i5Bzx38I=",
            "GOOGLE_CLIENT_SECRET": "GOCSPX-a$b1c",
            "MAXMIND_LICENSE_KEY": "<your-license-key>",
            "MAILER_NAME": "Plausible (it's us)",
        },
        literal={7},
        compose={5},
        shell={5, 6, 7},
    ),
    "gitea.env": Shipped(
        5,
        {
            "GITEA__database__PASSWD": r"back\slash and $dollar",
            "GITEA__security__SECRET_KEY": "$(openssl rand -hex 32)",
            "GITEA__mailer__PASSWD": "p~ss~word",
            "GITEA__server__ROOT_URL": "https://git.lan:${HTTPS_PORT:-3000}/",
        },
        compose={"GITEA__server__ROOT_URL": "https://git.lan:3000/"},
        shell={2},
        dotenv={"GITEA__server__ROOT_URL": "https://git.lan:3000/"},
    ),
    "mailcow.conf": Shipped(
        11,
        {
            "DBPASS": "8Zr2Tq0vXk5Ls1Wd7Fh3",
            "HTTP_BIND": "",
            "SOGO_URL_ENCRYPTION_KEY": "S0g0K3y",
            "MAILDIR_SUB": "Maildir/:LAYOUT=fs",
            "DBROOT": "8Zr2Tq0vXk5Ls1Wd7Fh3-root",
        },
        literal={10},
        compose={10},
        dotenv={10},
    ),
    "matrix.env": Shipped(
        5,
        {
            "SYNAPSE_TLS_KEY": "-----BEGIN PRIVATE KEY-----\n"
            "MC4CAQAwBQYDK2VwBCIEIOq1bXN0ZXIta2V5LWZvci1hLXRlc3Qtb25seS0xMg==\n"
            "-----END PRIVATE KEY-----\n",
            "SYNAPSE_CERT": "-----BEGIN CERTIFICATE-----\n"
            "MIIBeTCCAR+gAwIBAgIUQ0ZGaGVsbG8gd29ybGQhISEhISE=\n"
            "-----END CERTIFICATE-----",
            "OIDC_PROVIDERS": r'[{"idp_id":"kc","client_secret":"a\"b$c","scopes":["openid"]}]',
            "SERVICE_ACCOUNT": SERVICE_ACCOUNT,
        },
        shell={"SERVICE_ACCOUNT": SERVICE_ACCOUNT.replace('"', "")},
    ),
    "homelab.env": Shipped(
        9,
        {
            "DB_HOST": "db.lan",
            "DB_PASS": "s3cr$t",
            "DB_URL": "mysql://app:s3cr$t@db.lan/app",
            "CACHE_URL": "redis://:s3cr$t@cache.lan:6379/0",
            "FALLBACK": "none",
            "BACKUP_PATH": "lan/backup",
        },
        literal={
            "DB_HOST": "db.${BASE_DOMAIN}",
            "DB_URL": "mysql://${DB_USER}:${DB_PASS}@${DB_HOST}/app",
            "CACHE_URL": "redis://:${DB_PASS}@cache.${BASE_DOMAIN}:6379/0",
            "FALLBACK": "${EMPTY:-none}",
            "BACKUP_PATH": "$BASE_DOMAIN/backup",
        },
        dotenv={"FALLBACK": "", "BACKUP_PATH": "$BASE_DOMAIN/backup"},
    ),
    "laravel.env": Shipped(
        10,
        {
            "APP_KEY": "base64:3q2+7wAAAAD/////8J+YgPCfmIDwn5iA8J+YgPCfmIA=",
            "MAIL_PASSWORD": "null",
            "MAIL_FROM_NAME": "My App",
            "AWS_SECRET_ACCESS_KEY": "",
        },
        literal={"MAIL_FROM_NAME": "${APP_NAME}"},
    ),
}


def parting(shipped: Shipped, dialect: Dialect) -> dict[str, str] | set[int]:
    """What is particular to the dialect."""
    match dialect:
        case Dialect.LITERAL:
            return shipped.literal
        case Dialect.COMPOSE:
            return shipped.compose
        case Dialect.SHELL:
            return shipped.shell
        case Dialect.DOTENV:
            return shipped.dotenv


def test_every_file_is_accounted_for() -> None:
    """No file lies there without a word about what it says."""
    assert {path.name for path in FILES.iterdir()} == set(SHIPPED)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_says_what_its_reader_would_make_of_it(name: str, dialect: Dialect) -> None:
    """Each dialect reads the whole file as its program does, or names the lines that it can't."""
    data, shipped = (FILES / name).read_bytes(), SHIPPED[name]
    differs = parting(shipped, dialect)
    if isinstance(differs, set):
        assert set(problems(data, dialect)) == differs
        return
    found = values(data, dialect)
    assert len(found) == shipped.count
    assert found == found | shipped.values | differs


def test_what_nobody_filled_in_is_found() -> None:
    """The hints that these projects leave in their examples are noticed, and nothing else."""
    noticed = {
        found.variable
        for name in ("vaultwarden.env", "supabase.env", "paperless.env", "immich.env")
        for found in read_envfile((FILES / name).read_bytes()).assignments
        if placeholder(found.value)
    }
    assert noticed == {
        "YUBICO_CLIENT_ID",
        "PUSH_INSTALLATION_KEY",
        "POSTGRES_PASSWORD",
        "JWT_SECRET",
        "DASHBOARD_PASSWORD",
        "VAULT_ENC_KEY",
        "POSTGRES_DB",
        "ADDITIONAL_REDIRECT_URLS",
        "SMTP_ADMIN_EMAIL",
        "PAPERLESS_SECRET_KEY",
        "DB_PASSWORD",
        "DB_USERNAME",
    }
    assert placeholder(SecretValue.from_text("null"))
