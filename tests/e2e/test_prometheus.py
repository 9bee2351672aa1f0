"""A real Prometheus scrapes a daemon: rules and dashboard say what they are for, with its data."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import entries_of
from tests.e2e.tools import needs

pytestmark = needs("prometheus", "promtool")

MONITORING = Path(__file__).parents[2] / "examples/monitoring"
RULES = MONITORING / "jarvis-secretsd.rules.yml"
PATIENCE = 20.0
STRANGER = 4242
STARTING = 503

Json = Any


class Prometheus:
    """A server with our configuration, but for the port, and scraping four times a second.

    Where the tests run as root it runs as a user whom the policy doesn't know.
    """

    def __init__(self, daemon: DaemonProcess) -> None:
        directory = daemon.directory / "prometheus"
        directory.mkdir(mode=0o755)
        text = (MONITORING / "prometheus.yml").read_text()
        text = text.replace("127.0.0.1:8081", f"127.0.0.1:{daemon.port}")
        text = text.replace("scrape_interval: 15s", "scrape_interval: 250ms")
        text = text.replace("global:\n", "global:\n  evaluation_interval: 250ms\n")
        config = directory / "prometheus.yml"
        config.write_text(text)
        shutil.copy(RULES, directory)
        data = directory / "data"
        data.mkdir()
        user = STRANGER if os.geteuid() == 0 else None
        if user:
            os.chown(data, user, user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={data}",
                    f"--web.listen-address={self._address}",
                    "--log.level=warn",
                ],
                cwd=directory,
                env={"PATH": "/usr/bin:/bin", "GOMAXPROCS": "1"},
                stdout=log,
                stderr=log,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    def ask(self, path: str, **fields: str) -> Json:
        """What its API answers."""
        url = f"http://{self._address}/api/v1/{path}?{urlencode(fields)}"
        with urlopen(url, timeout=PATIENCE) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[Json]:
        """The samples that a query gives now. Raises HTTPError for one that is wrong."""
        found: list[Json] = self.ask("query", query=expression)["result"]
        return found

    def wait_for(self, expression: str) -> list[Json]:
        """The samples of this query, once it has any."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if found := self.query(expression):
                    return found
            except URLError as error:
                if isinstance(error, HTTPError) and error.code != STARTING:
                    raise
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(PATIENCE)


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    """A daemon that was asked this and that, also by whom it denies, and for a canary."""
    uid = os.geteuid()
    policy = f"""
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  backend: {{users: ["{uid}"], allow: [db/*]}}
  web: {{users: ["{uid}"], allow: [web/*]}}
"""
    one = DaemonProcess(policy=policy, settings={"audit": {"canaries": ["aws_root_*"]}})
    try:
        one.start()
        yield one
        one.stop_if_running()
        assert not one.crashed, one.stderr
    finally:
        one.dispose()


@pytest.fixture(scope="module")
def prometheus(daemon: DaemonProcess) -> Iterator[Prometheus]:
    """It has scraped the daemon before, and after, it was asked for much."""
    one = Prometheus(daemon)
    try:
        one.wait_for('up{job="jarvis-secretsd"} == 1')
        keep_busy(daemon)
        one.wait_for("jarvis_secretsd_canary_read_timestamp_seconds > 0")
        keep_busy(daemon)
        one.wait_for("sum(changes(jarvis_secretsd_requests_total[1m])) > 1")
        yield one
    finally:
        one.end()


def keep_busy(daemon: DaemonProcess) -> None:
    """Requests that are answered and denied, over both transports, and one for a canary."""
    for transport in ("unix", "tcp"):
        with Caller(daemon, f"http over {transport}") as admin:
            for name in ("db/main", "aws_root_key"):
                admin.ask("put", name=name, value="x")
        with Caller(daemon, f"frames over {transport}", "backend") as backend:
            for _ in range(20):
                assert backend.ask("get", name="db/main").outcome == "ok"
                assert backend.ask("get", name="db/none").outcome == "not_found"
                assert backend.ask("get", name="web/key").outcome in ("denied", "rate_limited")
    with Caller(daemon, client="admin") as admin:
        assert admin.ask("get", name="aws_root_key").outcome == "ok"


def promtool(*arguments: str, text: str = "") -> str:
    """What promtool says, which finds nothing wrong."""
    done = subprocess.run(
        ["promtool", *arguments],
        input=text,
        cwd=MONITORING,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_promtool_finds_nothing_to_say_of_the_metrics(daemon: DaemonProcess) -> None:
    """Names, units and types are as Prometheus wants them; who asks needs to be nobody."""
    with urlopen(f"{daemon.url}/metrics", timeout=PATIENCE) as response:
        page = response.read().decode()
    assert "jarvis_secretsd_up 1" in page
    assert promtool("check", "metrics", text=page) == ""


def test_rules_and_configuration_are_valid() -> None:
    """promtool reads both, and finds as many alerts as the file has."""
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", RULES.name)
    assert "FAILED" not in promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should() -> None:
    """promtool plays time series to the rules; each alert has one that raises it and one not."""
    promtool("test", "rules", "jarvis-secretsd.rules.test.yml")
    tests = yaml.safe_load((MONITORING / "jarvis-secretsd.rules.test.yml").read_text())["tests"]
    raised, quiet = set[str](), set[str]()
    for test in (each for group in tests for each in group["alert_rule_test"]):
        (raised if test.get("exp_alerts") else quiet).add(test["alertname"])
    assert raised == quiet == {alert["alert"] for alert in alerts()}


def alerts() -> list[Json]:
    """The alerts of our rules."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[Json] = group["rules"]
    return found


SELECTOR = re.compile(r"\b(?:up|jarvis_secretsd_\w+)\b(?:\{[^}]*\})?")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_each_alert_is_about_something_that_is_there(prometheus: Prometheus, alert: Json) -> None:
    """Every series that its expression names is scraped, so that it can become true."""
    prometheus.query(alert["expr"])
    selectors = SELECTOR.findall(alert["expr"])
    assert selectors
    for selector in selectors:
        assert prometheus.query(selector), selector


def test_every_rule_is_healthy(prometheus: Prometheus) -> None:
    """The server evaluates all of them without an error."""
    (group,) = prometheus.ask("rules")["groups"]
    assert {(rule["health"], rule.get("lastError")) for rule in group["rules"]} == {("ok", None)}
    assert len(group["rules"]) == len(alerts())


def test_a_canary_and_a_burst_of_denials_raise_their_alerts(
    daemon: DaemonProcess, prometheus: Prometheus
) -> None:
    """For whom they are about, and for nobody else; the log and the audit entry say it too."""
    fired = 'ALERTS{{alertname="{}", alertstate="firing"}}'
    prometheus.wait_for(fired.format("JarvisSecretsdCanary"))
    burst = prometheus.wait_for(fired.format("JarvisSecretsdDenialBurst"))
    assert [each["metric"]["client"] for each in burst] == ["backend"]
    assert not prometheus.query(fired.format("JarvisSecretsdDown"))
    assert "somebody asked for a canary" in daemon.stderr
    assert "name=aws_root_key" in daemon.stderr
    noted = entries_of(daemon, name="aws_root_key", op="get")
    assert {entry["note"] for entry in noted} == {"canary"}


def test_a_secret_without_a_backup_is_about_to_raise_its_alert(prometheus: Prometheus) -> None:
    """A daemon that never had one counts as one whose last is long ago."""
    found = prometheus.wait_for('ALERTS{alertname="JarvisSecretsdBackupOld"}')
    assert {each["metric"]["alertstate"] for each in found} == {"pending"}


def dashboard() -> Json:
    """The dashboard."""
    return json.loads((MONITORING / "grafana-dashboard.json").read_text())


def queries() -> list[tuple[str, str]]:
    """Every query of the dashboard, with the title of its panel."""
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize(("title", "expression"), queries(), ids=[title for title, _ in queries()])
def test_every_query_of_the_dashboard_gives_data(
    prometheus: Prometheus, title: str, expression: str
) -> None:
    """As Grafana would ask, with all instances chosen; no panel is drawn of a gap."""
    asked = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
    assert "$" not in asked
    found = prometheus.wait_for(asked)
    assert all(sample["value"][1] != "NaN" for sample in found), title


def test_the_dashboard_offers_the_instances_that_there_are(
    daemon: DaemonProcess, prometheus: Prometheus
) -> None:
    """Its variable's query names the daemon; every panel takes the source that was chosen."""
    source, instance = dashboard()["templating"]["list"]
    (metric,) = re.findall(r"label_values\((\w+), instance\)", instance["query"]["query"])
    found = prometheus.ask("label/instance/values", **{"match[]": metric})
    assert found == [f"127.0.0.1:{daemon.port}"]
    panels = dashboard()["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {f"${{{source['name']}}}"}
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_panels_do_not_overlap() -> None:
    """Each has its place in Grafana's grid, 24 wide."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_a_daemon_that_is_gone_is_down(daemon: DaemonProcess, prometheus: Prometheus) -> None:
    """Its alert waits a minute, in which a restart is no news."""
    daemon.stop()
    found = prometheus.wait_for('ALERTS{alertname="JarvisSecretsdDown"}')
    assert found[0]["metric"]["alertstate"] == "pending"
    daemon.start()
    prometheus.wait_for('up{job="jarvis-secretsd"} == 1')
