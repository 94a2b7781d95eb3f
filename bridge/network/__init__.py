"""Connections to untrusted addresses: address classes, the policy, and a transport that checks addresses."""
