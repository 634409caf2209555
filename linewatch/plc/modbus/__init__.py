"""Modbus TCP: the station as a server of registers; the only importer of pymodbus."""
