"""The classes of examples/orders.py, for a server on either engine."""

from __future__ import annotations

import os

from actors import App
from examples.orders import Mailer, Order, Stock

app = App(Order, Stock, Mailer, storage=os.environ.get("README_STORAGE", "sqlite://"))
