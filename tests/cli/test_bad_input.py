"""Each bad input is one clear line on stderr and a non-zero exit, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import longshore
from longshore.testing import RedisServer

APP = """
import longshore
app = longshore.App()

@app.task("a")
async def a(): ...

empty = longshore.App()
number = 7

class Odd:
    def __getattr__(self, name):
        raise RuntimeError("not now")

odd = Odd()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with applications, good and bad."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "broken_syntax.py").write_text("def (")
    (tmp_path / "broken_import.py").write_text("import not_there_at_all\n")
    (tmp_path / "raises.py").write_text("\nraise ValueError('on two\\nlines')\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    handler = "def f(a, b, c): ...\n"
    (tmp_path / "bad_handler.py").write_text(f"import longshore\napp = longshore.App()\n@app.task('x')\n{handler}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing command. (see longshore --help)"),
        (("nothing",), "No such command 'nothing'. (see longshore --help)"),
        (("worker",), "Missing argument 'MODULE:APP'. (see longshore worker --help)"),
        (("worker", "--nope", "shop:app"), "No such option '--nope'"),
        (("worker", "shop"), "application: 'shop' does not name one; write MODULE:APP, such as shop.tasks:app"),
        (("worker", "nowhere:app"), "application: cannot import 'nowhere': no module named 'nowhere' in "),
        (("worker", "shop.tasks:app"), "application: cannot import 'shop.tasks': "),
        (("worker", "shop:apps"), "application: module 'shop' has no 'apps'; it has: app, empty"),
        (("worker", "shop:number"), "application: shop:number is of type int, not a longshore.App"),
        (("worker", "shop:empty"), "application: shop:empty has no handlers; register some with @app.task(…)"),
        (("worker", "broken_syntax:app"), "application: cannot import 'broken_syntax': SyntaxError: "),
        (("worker", "broken_import:app"), "cannot import 'broken_import': No module named 'not_there_at_all' ("),
        (("worker", "raises:app"), "cannot import 'raises': ValueError: on two lines ("),
        (("worker", "exits:app"), "cannot import 'exits': SystemExit: 0 ("),
        (("worker", "bad_handler:app"), "cannot import 'bad_handler': handler: f takes a, b, c; a handler takes"),
        (("worker", "shop:app", "--queue", "a=0"), "the priority of queue 'a' is '0'; write a whole number from 1"),
        (("worker", "shop:app", "--queue", "a=x"), "the priority of queue 'a' is 'x'; write a whole number from 1"),
        (("worker", "shop:app", "--queue", "a,,b"), "'a,,b' has a queue without a name"),
        (("worker", "shop:app", "--queue", "a=1,a=2"), "queue 'a' is given twice"),
        (("worker", "shop:app", "--queue", "a", "--queue", "a"), "queue 'a' is given twice"),
        (("worker", "shop:app", "--concurrency", "0"), "0 is not in the range 1<=x<=1000000."),
        (("worker", "shop:app", "--processes", "0"), "'0' is not a number from 1 to 256, nor 'auto' for one a CPU"),
        (("worker", "shop:app", "--process-pool-size", "0"), "0 is not in the range 1<=x<=1024."),
        (("worker", "shop:app", "--shutdown-timeout", "soon"), "'soon' is not a duration; write seconds or units"),
        (("worker", "shop:app", "--group-grace-period", "0"), "group grace period: must be at least 1 second"),
        (("worker", "shop:app", "--group-max-delay", "10ms"), "group max delay: must be at least 1 second"),
        (("worker", "shop:app", "--group-max-size", "10001"), "10001 is not in the range 0<=x<=10000."),
        (("worker", "shop:app", "--health-address", "8081"), "'8081' is not an address; write host:port, or :8081"),
        (("worker", "shop:app", "--log-level", "loud"), "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (("worker", "shop:app", "--redis", "http://x"), "redis URL: "),
        (("worker", "shop:app", "--redis", "redis://127.0.0.1:1"), "127.0.0.1:1"),
        (("worker", "shop:app", "--redis", "redis://no-such-host.invalid"), "no-such-host.invalid"),
        (("worker", "shop:app", "--concurrency", "3000000000"), "3000000000 is not in the range 1<=x<=1000000."),
        (
            ("worker", "shop:app", "--queue", "a\udcff=1", "--redis", "redis://x"),
            "queues: the name 'a\\udcff' is not valid",
        ),
        (("worker", "shop:number.real.more"), "application: module 'shop' has no 'number.real.more'"),
        (("worker", "shop:odd.more"), "application: shop:odd.more: cannot get 'more': RuntimeError: not now ("),
        (("enqueue", "a", "--payload", '"\udcff"'), "--payload: is not JSON: 'utf-8' codec can't decode"),
        (("enqueue",), "Missing argument 'TYPE'."),
        (("enqueue", " "), "task type: must not be blank"),
        (("enqueue", "a", "--payload", "{"), "--payload: is not JSON: "),
        (("enqueue", "a", "--payload", "@missing.json"), "--payload: cannot read missing.json: No such file"),
        (("enqueue", "a", "--queue", " "), "queue: must not be blank"),
        (("enqueue", "a", "--max-retry", "-1"), "max_retry: must not be negative"),
        (("enqueue", "a", "--timeout", "0"), "timeout: must be more than zero"),
        (("enqueue", "a", "--at", "tomorrow"), "'tomorrow' is not a time; write it as 2026-01-31T18:00:00Z"),
        (("enqueue", "a", "--at", "2026-01-31T18:00:00"), "has no time zone; append Z for UTC"),
        (
            ("enqueue", "a", "--in", "1m", "--at", "2026-01-31T18:00:00Z"),
            "process_in: give either process_at or process_in",
        ),
        (("enqueue", "a", "--header", "novalue"), "'novalue' is not a header; write name=value"),
        (("enqueue", "a", "--redis", "redis://127.0.0.1:1"), "127.0.0.1:1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_clear_line(project: Path, arguments: tuple[str, ...], says: str) -> None:
    done = longshore(*arguments, cwd=project)
    assert done.returncode != 0
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("longshore: ")
    assert says in line


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LONGSHORE_QUEUES", "critical=six", "the priority of queue 'critical' is 'six'"),
        ("LONGSHORE_CONCURRENCY", "many", "'many' is not a valid integer"),
        ("LONGSHORE_STRICT_PRIORITY", "perhaps", "'perhaps' is not a valid boolean"),
        ("LONGSHORE_SHUTDOWN_TIMEOUT", "1 minute", "'1 minute' is not a duration"),
        ("LONGSHORE_HEALTH_ADDRESS", "everywhere", "'everywhere' is not an address"),
        ("LONGSHORE_REDIS_TIMEOUT", "0", "redis timeout: must be more than zero"),
    ],
)
def test_a_bad_environment_variable_is_one_clear_line(project: Path, variable: str, value: str, says: str) -> None:
    done = longshore("worker", "shop:app", cwd=project, **{variable: value})
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert says in line


@pytest.fixture
def locked_redis() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", "secret") as server:
        yield server


@pytest.mark.parametrize("password", ["", "wrong"])
def test_refused_credentials_are_one_line_that_does_not_repeat_them(
    project: Path, locked_redis: RedisServer, password: str
) -> None:
    variables = {"LONGSHORE_REDIS_URL": locked_redis.url} | ({"LONGSHORE_REDIS_PASSWORD": password} if password else {})
    done = longshore("worker", "shop:app", cwd=project, **variables)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "127.0.0.1" in line
    assert "wrong" not in line


def test_a_health_address_in_use_is_one_clear_line(project: Path, redis_url: str, redis_server: RedisServer) -> None:
    address = f"127.0.0.1:{redis_server.port}"
    done = longshore("worker", "shop:app", "--redis", redis_url, "--health-address", address, cwd=project)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"longshore: health address: cannot listen on {address}: ")
    assert "Traceback" not in done.stderr
