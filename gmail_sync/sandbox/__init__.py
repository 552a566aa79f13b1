"""A local Gmail for trying and testing: REST v1, OAuth, batches, pushes, quota and faults."""

from gmail_sync.sandbox.faults import Fault
from gmail_sync.sandbox.mailbox import SandboxMailbox
from gmail_sync.sandbox.sandbox import Sandbox
from gmail_sync.sandbox.server import SandboxServer, serve

__all__ = ["Fault", "Sandbox", "SandboxMailbox", "SandboxServer", "serve"]
