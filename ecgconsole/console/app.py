"""The console on one output folder: a reader of the job's files, and a writer of requests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from ecgconsole.console import frame, memory, panels
from ecgconsole.console.alerts import alerts, osc9
from ecgconsole.console.dialogs import Help, Question
from ecgconsole.console.feed import POLL_SECONDS, Feed, Update
from ecgconsole.console.keys import EVERYWHERE, on_screen, remapped
from ecgconsole.console.page import Page
from ecgconsole.console.rows import Rows
from ecgconsole.console.screens import SCREENS, page_class
from ecgconsole.console.screens.welcome import Welcome
from ecgconsole.console.session import Clock, Session, utc_clock
from ecgconsole.console.terminal import end_with_the_terminal, terminal_is_behind
from ecgconsole.console.themes import THEMES
from ecgconsole.errors import EcgConsoleError
from ecgconsole.jobs.snapshot import Snapshot
from ecgconsole.jobs.steer import request, start_run
from ecgconsole.text import sanitise
from ecgconsole.workspace import Workspace


class Fresh(Message):
    """Something new was read."""

    def __init__(self, update: Update, feed: Feed) -> None:
        super().__init__()
        self.update, self.feed = update, feed


class Console(App[None]):
    """Title above, one page at a time, tabs and keys below."""

    TITLE = "ecgconsole"

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(k.key, k.action, k.label, id=k.id) for k in EVERYWHERE),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
    ]
    CSS = """
    #title, #tabs, #keys { height: 1; background: $panel; }
    #body { height: 1fr; }
    """

    def __init__(self, workspace: Workspace | None, read_only: bool = False, now: Clock = utc_clock) -> None:
        """Without a workspace it asks for one first."""
        super().__init__()
        self._chosen = workspace is not None
        self._read_only, self._now = read_only, now
        self._countdown: Timer | None = None  # runs while a job is being stopped
        self._waits: Timer | None = None  # for a terminal that has not taken the last picture yet
        self._open(workspace or Workspace("."))
        settings = memory.read_settings()
        self.keys, problems = remapped(settings.keys)
        self._problems = [*([settings.problem] if settings.problem else []), *problems]
        self.set_keymap({k.id: k.key for k in self.keys if k.id in settings.keys})
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = settings.theme if settings.theme in self.available_themes else THEMES[0].name

    def _open(self, workspace: Workspace) -> None:
        self.session = Session(workspace, self._read_only, memory.last_seen(workspace), self._now)
        self._feed = Feed(workspace, self._post)
        self._opened = self._now().isoformat()

    @property
    def snapshot(self) -> Snapshot | None:
        return self.session.snapshot

    @property
    def page(self) -> Page | None:
        """The visible one."""
        current = self.query_one("#body", ContentSwitcher).visible_content
        return current if isinstance(current, Page) else None

    def compose(self) -> ComposeResult:
        yield Rows(id="title")
        yield ContentSwitcher(id="body")
        yield Rows(id="tabs")
        yield Rows(id="keys")

    async def on_mount(self) -> None:
        for problem in self._problems:
            self.say(problem, "warning")
        self.set_interval(30, self._each_half_minute)
        if self._chosen:
            await self._begin()
        else:
            self.action_other_folder()

    async def _begin(self) -> None:
        """Shows the folder that was opened, from its first screen."""
        self._chosen = True
        memory.remember_opened(self.session.workspace)
        await self.query_one("#body", ContentSwitcher).remove_children()
        await self.action_show(SCREENS[0].name)
        self._feed.start()

    def action_other_folder(self) -> None:
        async def chosen(workspace: Workspace | None) -> None:
            if workspace is None:
                if not self._chosen:
                    self.exit()
                return
            self._close()
            self._open(workspace)
            await self._begin()

        self.push_screen(Welcome(), chosen)

    def _close(self) -> None:
        self._feed.end()
        if self._chosen:
            memory.remember_seen(self.session.workspace, self.session.now().isoformat())

    def on_unmount(self) -> None:
        self._close()

    def _each_half_minute(self) -> None:
        if self._chosen:
            self._draw_title()
            self._remember_seen()

    @work(thread=True, exclusive=True, group="memory")
    def _remember_seen(self) -> None:
        """Also now and then: a console may be killed."""
        memory.remember_seen(self.session.workspace, self.session.now().isoformat())

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_frame)

    def _post(self, update: Update) -> None:
        """Called by the feed's thread; ``post_message`` may be."""
        feed = threading.current_thread()
        if isinstance(feed, Feed):
            self.post_message(Fresh(update, feed))

    def on_fresh(self, message: Fresh) -> None:
        if message.feed is not self._feed:
            return  # of the folder that was open before
        self.session.take(message.update)
        self._alert(message.update)
        self._draw_when_the_terminal_keeps_up()

    def _draw_when_the_terminal_keeps_up(self) -> None:
        """A slow link gets fewer pictures, not later ones: while it has not taken the last, none is made."""
        if self._waits is not None:
            return
        if terminal_is_behind():

            def again() -> None:
                self._waits = None
                self._draw_when_the_terminal_keeps_up()

            self._waits = self.set_timer(POLL_SECONDS, again)
            return
        self._draw_frame()
        if self.page is not None:
            self.page.fresh()

    def _alert(self, update: Update) -> None:
        """A note, the bell and the terminal's own notification, for what happened since the console is open."""
        found = alerts(update.events, self._opened)
        if not found:
            return
        text, severity = found[-1]
        # One note at a time: those of a busy minute would cover the screen.
        self.clear_notifications()
        self.say(text + (f"\n{len(found) - 1} more: e on the dashboard" if len(found) > 1 else ""), severity)
        if self._driver is not None:
            self.bell()
            self._driver.write(osc9(text))
            self._driver.flush()

    def _draw_frame(self) -> None:
        self._draw_title()
        name = self.page.NAME if self.page else ""
        width, session = self.size.width, self.session
        self.query_one("#tabs", Rows).show([frame.tabs(name, width)])
        keys = on_screen(self.keys, name, session.read_only)
        row = frame.keys_row(keys, width, session.read_only, session.alive, session.paused)
        self.query_one("#keys", Rows).show([row])

    def _draw_title(self) -> None:
        session = self.session
        name, stop = session.workspace.folder.name, session.stopping()
        self.query_one("#title", Rows).show([panels.title(self.snapshot, name, self.size.width, session.now(), stop)])
        if stop is not None and self._countdown is None:
            self._countdown = self.set_interval(1, self._draw_title)
        elif stop is None and self._countdown is not None:
            self._countdown.stop()
            self._countdown = None

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With ``--read-only`` nothing that touches the job is bound; under a dialog nothing of ours is but leaving."""
        ours = {k.action.partition("(")[0]: k.steers for k in EVERYWHERE if k.action != "leave"}
        if action not in ours:
            return True
        return not isinstance(self.screen, ModalScreen | Welcome) and not (self.session.read_only and ours[action])

    async def action_show(self, name: str) -> None:
        body = self.query_one("#body", ContentSwitcher)
        if not body.query(f"#page-{name}"):
            await body.add_content(page_class(name)(id=f"page-{name}"))
        body.current = f"page-{name}"
        self._draw_frame()
        if self.page is not None:
            self.page.take_focus()
            self.page.call_after_refresh(self.page.fresh)

    async def action_on_page(self, action: str) -> None:
        """A key of the visible page, clicked or chosen by name."""
        await self.run_action(action, default_namespace=self.page)

    def action_stop(self) -> None:
        self._ask_then("stop", "Stop the job after the unit in hand? Everything is saved; the same command continues.")

    def action_stop_now(self) -> None:
        self._ask_then("stop-now", "Stop the job at once? Work since the last checkpoint or shard is done again.")

    def action_pause(self) -> None:
        self._request("resume" if self.session.paused else "pause")

    def action_checkpoint(self) -> None:
        self._request("checkpoint")

    async def action_start(self) -> None:
        await self.action_show("run")

    def action_next_theme(self) -> None:
        names = sorted(self.available_themes)
        self._choose_theme(names[(names.index(self.theme) + 1) % len(names)])

    def _choose_theme(self, name: str) -> None:
        self.theme = name
        memory.write_theme(name)
        self.say(f"theme {name}")

    def action_copy(self) -> None:
        text = self.page.copied_text() if self.page else None
        if text:
            self.copy_to_clipboard(text)
            self.say(f"copied: {text}")
        else:
            self.say("nothing to copy here", "warning")

    def action_picture(self) -> None:
        self.say(f"written: {self.save_screenshot(path=str(self.session.workspace.folder))}")

    def action_help(self) -> None:
        name = self.page.NAME if self.page else ""
        self.push_screen(Help([k for k in self.keys if not (k.steers and self.session.read_only)], name))

    def action_leave(self) -> None:
        self.exit()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key that does something here, by its help."""
        name = self.page.NAME if self.page else ""
        for key in on_screen(self.keys, name, self.session.read_only):
            action = f"app.on_page('{key.action}')" if key.screen else f"app.{key.action}"
            yield SystemCommand(key.label or key.help, key.help, partial(self.run_action, action))
        for theme in sorted(self.available_themes):
            yield SystemCommand(f"theme {theme}", "and remember it", partial(self._choose_theme, theme))

    def _ask_then(self, action: str, question: str) -> None:
        if not self.session.alive:
            self.say("no job runs here", "warning")
        else:
            self.confirm(question, lambda: self._request(action))

    def confirm(self, question: str, then: Callable[[], object]) -> None:
        """Asks, and does ``then`` on yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.push_screen(Question(question), answered)

    @work(thread=True, group="steer")
    def _request(self, action: str) -> None:
        try:
            request(self.session.workspace, action)
        except EcgConsoleError as error:
            self.call_from_thread(self.say, str(error), "error")
        else:
            self.call_from_thread(self.say, f"{action} asked for")

    @work(thread=True, group="steer")
    def start_run(self, arguments: Sequence[str]) -> None:
        """Starts ``ecgconsole run`` on this folder, in a session of its own, and shows the dashboard."""
        workspace = self.session.workspace
        try:
            run_id = start_run(
                workspace, ["run", "--no-tui", "--output", "json", "-o", str(workspace.folder), *arguments]
            )
        except EcgConsoleError as error:
            self.call_from_thread(self.say, str(error), "error")
        else:
            self.call_from_thread(self.say, f"run {int(run_id)} started")
            self.call_from_thread(self.call_later, self.action_show, SCREENS[0].name)

    def say(self, text: str, severity: Any = "information") -> None:
        """A short-lived note; text from files is shown as text."""
        self.notify(sanitise(text), severity=severity, markup=False)


def main(workspace: Workspace | None, read_only: bool = False) -> None:
    """Opens the console; returns when the user leaves. The job, if one runs, goes on."""
    end_with_the_terminal()
    console = Console(workspace, read_only)
    console.run()
    if console.session.alive:
        folder = sanitise(console.session.workspace.folder)
        sys.stdout.write(f"The job goes on. To see it again: ecgconsole -o {folder}\n")
