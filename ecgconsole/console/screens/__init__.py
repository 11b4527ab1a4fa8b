"""The screens: one row here, one file in this folder, one tuple of keys in ``console.keys``.

To add a screen, or fill one:

- ``SCREENS`` names its class as ``module:Class``. The module is imported when the screen is first opened, never
  before, so the first paint costs no h5py, no pandas, no pyarrow. Such imports stand inside the functions that
  need them, even so: a screen's module is imported in the event loop.
- The class is a ``Page`` (``console.page``). It composes its widgets, draws in ``fresh()`` what ``self.session``
  knows, and answers the keys of its tuple in ``console.keys`` by methods ``action_<name>``.
- Reading files is done in a worker thread (``@work(thread=True, exclusive=True, group="...")``), and comes back
  by ``self.hand_back``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ecgconsole.console.page import Page


class Entry(NamedTuple):
    """A screen: the digit that opens it, its name in code, its label on the tab, and ``module:Class``."""

    key: str
    name: str
    label: str
    target: str


SCREENS = (
    Entry("1", "dashboard", "dashboard", "ecgconsole.console.screens.dashboard:Dashboard"),
    Entry("2", "run", "run", "ecgconsole.console.screens.run:RunControl"),
    Entry("3", "parameters", "parameters", "ecgconsole.console.screens.parameters:Parameters"),
    Entry("4", "checkpoints", "checkpoints", "ecgconsole.console.screens.checkpoints:Checkpoints"),
    Entry("5", "data", "data", "ecgconsole.console.screens.data:Data"),
    Entry("6", "findings", "findings", "ecgconsole.console.screens.findings:FindingsPage"),
    Entry("7", "logs", "logs", "ecgconsole.console.screens.logs:Logs"),
    Entry("8", "runs", "runs", "ecgconsole.console.screens.runs:Runs"),
)


def page_class(name: str) -> type[Page]:
    target = next(entry.target for entry in SCREENS if entry.name == name)
    module, _, attribute = target.partition(":")
    found: Any = getattr(import_module(module), attribute)
    return found
