"""Prints what Python makes of its path, then lives until it is stopped."""

import signal
import sys

import greeting  # Found by the service's own PYTHONPATH.

print("path", ":".join(sys.path), flush=True)
print("arguments", " ".join(sys.argv[1:]), greeting.TEXT, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
signal.pause()
