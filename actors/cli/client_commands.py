"""`actors call`, `send`, `resolve`, `reject`, `sql`, `completion`: for users of a served app.

Exit codes: 0 done, 1 refused, failed or not answered, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click
import msgspec
from click.shell_completion import get_completion_class
from rich.console import Console

from actors import run
from actors.cli.file.database import visiting
from actors.cli.file.options import database_option
from actors.cli.show.layout import Page, safe
from actors.cli.show.streams import typed
from actors.errors import BadArguments, ServerUnreachable, TerminalError, code_suffix
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.serde import ANY
from actors.storage.errors import ActorsError
from actors.storage.sqlite.reading import query
from actors.transport.client import Client, calls
from actors.transport.client.answers import Answer, failure
from actors.transport.client.calls import Accepted, Ask
from actors.transport.http.arguments import WORDS
from actors.transport.http.durations import delay_ms

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_ONCE = RetryPolicy(max_attempts=1)  # a user sees at once that no server answers
_WORDS = ((b"content-type", WORDS.encode()),)
_NEGATIVE = re.compile(r"-\.?\d")
_MARK = "\x00"  # never part of a process argument

url_option = click.option(
    "--url",
    default="http://127.0.0.1:8080",
    envvar="ACTORS_URL",
    show_default=True,
    show_envvar=True,
    help="Where the app is served.",
)
token_option = click.option(
    "--token", envvar="ACTORS_TOKEN", show_envvar=True, help="The server's bearer token, if it requires one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
text_option = click.option("--text", is_flag=True, help="Treat the value as text, even if it looks like JSON.")


class Command(click.Command):
    """A command whose arguments may be negative numbers."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        valued = {
            name
            for param in self.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        marked = [
            _MARK + arg if _NEGATIVE.match(arg) and before not in valued else arg
            for before, arg in zip(["", *args], args[:end], strict=False)
        ]
        return super().parse_args(ctx, marked + args[end:])


class Word(click.ParamType[str]):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = typed(str(value).removeprefix(_MARK))
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} is not valid Unicode text.", param, ctx)
        return text


class Target(Word):
    """`Class/key/handler`, or `Service/handler`. Names cannot hold a slash, so the key between them may."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        text = super().convert(value, param, ctx)
        service, slash, rest = text.partition("/")
        key, _, handler = rest.rpartition("/")
        if not slash or not service or not handler or (rest.count("/") and not key):
            self.fail(
                f"{text!r} is not a valid target. Use Counter/a/add, or Mailer/deliver for a Service.", param, ctx
            )
        return service, key, handler


WORD = Word()


def _request(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A command that sends a request to a server; errors go to stderr."""

    def wrapped(url: str, token: str | None, as_json: bool, timeout: float | None = None, **options: Any) -> None:
        async def request() -> None:
            async with Client(url, token=token, timeout=timeout, retry=_ONCE) as client:
                await command(client, as_json=as_json, **options)

        report_errors(lambda: run(request()), as_json)

    wrapped.__doc__ = command.__doc__
    return wrapped


def report_errors(work: Callable[[], None], as_json: bool) -> None:
    try:
        work()
    except ActorsError as error:
        code = error.code if isinstance(error.code, int) else 500
        metadata = error.metadata if isinstance(error, TerminalError) else None
        advice = " For example: actors serve module:app, or --url for another server." if _is_down(error) else ""
        if as_json:
            facts = {"code": code, "error": error.error, "message": str(error) + advice, "metadata": metadata or {}}
            click.echo(json.dumps(facts), err=True)
        else:
            click.echo(safe(f"Error: {error}{advice}{code_suffix(error)}", lines=True), err=True)
            for name, value in (metadata or {}).items():
                click.echo(safe(f"  {name}: {value}"), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _is_down(error: ActorsError) -> bool:
    return isinstance(error, ServerUnreachable) and "No server" in str(error)


def _command(name: str, function: Callable[..., Any], *options: Decorator) -> click.Command:
    for option in reversed(options):
        function = option(function)
    return click.command(name, cls=Command)(function)


def _show_answer(answer: Answer, as_json: bool) -> None:
    """Print the value of a call: text and bytes unchanged, nothing for None, any other value as JSON."""
    if answer.headers.get("content-type", "").startswith("application/octet-stream"):
        if not as_json:
            sys.stdout.buffer.write(answer.body)
            sys.stdout.buffer.flush()
            return
        click.echo(msgspec.json.encode(answer.body).decode())  # in base64
        return
    text = answer.body.decode()
    if as_json:
        click.echo(text or "null")
    elif text.startswith('"'):
        value = json.loads(text)
        click.echo(safe(value, lines=True) if sys.stdout.isatty() else value)
    elif text and text != "null":
        click.echo(msgspec.json.format(text, indent=2))


def _whole(answer: Answer) -> Answer:
    if answer.status != 200:
        raise failure(answer)
    calls.reader(ANY)(answer)  # raises if the answer does not hold a value
    return answer


def _words(words: tuple[str, ...]) -> tuple[bytes, tuple[calls.Header, ...]]:
    return (msgspec.json.encode(words), _WORDS) if words else (b"", ())


async def _call(
    client: Client, target: tuple[str, str, str], words: tuple[str, ...], key: str | None, as_json: bool
) -> None:
    """Call a handler and print its value.

    TARGET is Counter/a/add, or Mailer/deliver for a Service. An ARGUMENT is read as JSON if that fits the parameter, and as
    text otherwise; name=value passes an argument by name. After -- everything is an argument.
    """
    body, kind = _words(words)
    ask = calls.call_by_name(*target, body, kind, Options(idempotency_key=key))
    _show_answer(await client.ask(_with(ask, _whole)), as_json)


async def _send(
    client: Client,
    target: tuple[str, str, str],
    words: tuple[str, ...],
    key: str | None,
    delay: str | None,
    as_json: bool,
) -> None:
    """Send to a handler one way, durably, and print the id of the invocation. Arguments are as in `actors call`."""
    body, kind = _words(words)
    if delay is not None and delay.isdecimal() and delay != "0":
        raise click.UsageError(
            f"--delay {delay} has no unit. Use {delay}s for seconds, or {delay}ms, {delay}m, {delay}h."
        )
    after = delay_ms(delay) if delay is not None else 0
    accepted: Accepted = await client.ask(calls.send_by_name(*target, body, kind, Options(after, None, key)))
    due = accepted.due.isoformat(timespec="milliseconds").replace("+00:00", "Z") if accepted.due else None
    if as_json:
        click.echo(json.dumps({"id": accepted.id, "previously_accepted": not accepted.new, "due": due}))
        return
    click.echo(accepted.id)
    if not accepted.new:
        click.echo("accepted before, under this key", err=True)
    if due:
        click.echo(f"due {due}", err=True)


async def _resolve(client: Client, id: str, value: str, text: bool, as_json: bool) -> None:
    """Complete an awakeable with JSON, or with text if it is not JSON. Default: null."""
    is_json = not text and _is_json(value)
    try:
        await client.ask(calls.resolve_json(id, value if is_json else json.dumps(value)))
    except BadArguments as error:
        if is_json:
            raise BadArguments(f"{error.message} The value was read as JSON; --text treats it as text.") from None
        raise
    click.echo(json.dumps({"id": id, "outcome": "resolved"}) if as_json else f"{id} resolved")


async def _reject(client: Client, id: str, reason: str, as_json: bool) -> None:
    """Reject an awakeable: the handler that awaits it fails with REASON."""
    await client.reject_awakeable(id, reason)
    click.echo(json.dumps({"id": id, "outcome": "rejected"}) if as_json else f"{id} rejected")


def _with(ask: Ask[Any], read: Callable[[Answer], T]) -> Ask[T]:
    return Ask(ask.method, ask.path, read, ask.body, ask.headers, ask.repeatable, ask.waits)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _sql(text: str, db: str, limit: int, as_json: bool) -> None:
    """Query an app's database, whether the app runs or not: invocations, journal, state, awakeables, promises, timers.

    The query can only read.
    """

    async def check_file() -> None:
        async with visiting(db):
            pass  # raises if the file is not an app's database

    def show() -> None:
        run(check_file())
        result = query(db, text, limit)
        if as_json:
            rows = [dict(zip(result.columns, map(_plain, row), strict=True)) for row in result.rows]
            click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        elif not result.rows:
            click.echo("No row matches.")
        else:
            _page().table(result.columns, [[safe(_cell(value)) for value in row] for row in result.rows])
        if result.more:
            click.echo(f"These are the first {limit}; --limit shows more.", err=True)

    report_errors(show, as_json)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    return "" if value is None else f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)


def _page() -> Page:
    return Page(Console(highlight=False))


SHELLS = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/actors.fish"}


target_argument = click.argument("target", type=Target())
words_argument = click.argument("words", nargs=-1, type=WORD, metavar="[ARGUMENT]...")
key_option = click.option(
    "--key", type=WORD, help="An idempotency key: all calls with the same key are one invocation."
)
timeout_option = click.option(
    "--timeout", type=click.FloatRange(0.001, 1e9), metavar="SECONDS", help="The longest time to wait."
)
delay_option = click.option("--delay", type=WORD, metavar="TIME", help="Deliver later: 5s, 100ms, 1h5m or PT5S.")
id_argument = click.argument("id", type=WORD)
remote = (url_option, token_option, json_option)

call = _command("call", _request(_call), target_argument, words_argument, key_option, timeout_option, *remote)
send = _command("send", _request(_send), target_argument, words_argument, key_option, delay_option, *remote)
resolve = _command(
    "resolve",
    _request(_resolve),
    id_argument,
    click.argument("value", default="null", type=WORD, metavar="[JSON]"),
    text_option,
    *remote,
)
reject = _command(
    "reject", _request(_reject), id_argument, click.argument("reason", type=WORD, metavar="TEXT"), *remote
)
sql = _command(
    "sql",
    _sql,
    click.argument("text", type=WORD, metavar="QUERY"),
    database_option,
    click.option(
        "--limit", type=click.IntRange(1, 2**31), default=1000, show_default=True, help="How many rows to print."
    ),
    json_option,
)


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the shell's completion script. Add this line to the start-up file, or write the script to the file:

    \b
    bash  eval "$(actors completion bash)"    in ~/.bashrc
    zsh   eval "$(actors completion zsh)"     in ~/.zshrc
    fish  actors completion fish > ~/.config/fish/completions/actors.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    # Not `source`, which starts the machine's bash to read its version.
    complete = found(click.get_current_context().find_root().command, {}, "actors", "_ACTORS_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
