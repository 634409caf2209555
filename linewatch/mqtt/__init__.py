"""The wire contract and its MQTT clients; the only importers of paho."""
