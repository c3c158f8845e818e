"""The ids that travel through control, each a type of its own so that two cannot be confused."""

from __future__ import annotations

from typing import NewType

AccountId = NewType("AccountId", str)
ApiKeyId = NewType("ApiKeyId", str)
FlowId = NewType("FlowId", str)
LeaseId = NewType("LeaseId", str)
ReplicaId = NewType("ReplicaId", str)
TicketId = NewType("TicketId", str)
TurnId = NewType("TurnId", str)
WebSessionId = NewType("WebSessionId", str)
WorkerId = NewType("WorkerId", str)
