"""Connections to a PLC beside MQTT: adapters that can fail or hang without effect on the line."""
