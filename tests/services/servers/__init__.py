"""Real servers, started on loopback in a folder of their own: `with Sshd(folder) as server: ...`.

Neither pytest nor AiiDA is needed, so that benchmarks can have them too: put `tests/services` in `sys.path`. Ports are
picked when a server starts, nothing listens but on 127.0.0.1, and a server is ended by its pid.
"""

from __future__ import annotations
