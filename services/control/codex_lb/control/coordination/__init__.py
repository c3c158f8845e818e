"""Soft state that gateways and control replicas share: who holds which slot, which ticket is out."""
