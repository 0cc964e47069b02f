"""A module that reads the clock and the environment when it is imported."""

import os
import time

AT = time.time(), os.getpid(), os.listdir(".")
